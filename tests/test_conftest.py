import os
import subprocess
import sys

import pytest

from tests.shared import REPOSITORY


@pytest.mark.parametrize("asked, visible", [("", ""), ("1", "0,1")])
def test_gpus_are_hidden_from_tests_unless_asked_for(asked, visible):
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "0,1", "CFLD_TEST_GPU": asked}
    code = """
import os, sys, types
sys.modules["tests.inference.estimators"] = types.SimpleNamespace(turn_off_estimator=lambda: None)  # imports torch
import tests.conftest
print(os.environ["CUDA_VISIBLE_DEVICES"])
"""
    output = subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, env=env, text=True)
    assert output.strip() == visible
