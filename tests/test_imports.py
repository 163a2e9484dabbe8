"""What programs import: before they have parsed their command line, and without need."""

import json
import subprocess
import sys

import pytest

from tests.programs import COMMANDS
from tests.shared import REPOSITORY

MODELS = {"accelerate", "diffusers", "scipy", "timm", "torch", "torchvision", "transformers"}
LARGE = MODELS | {"av", "cv2", "gradio", "matplotlib", "mediapipe", "onnxruntime", "pandas", "sklearn", "torchmetrics"}
DRAWING = {"demo.cloth", "demo.drawn_people"}  # they import OpenCV, which takes a tenth of a second
# runs programs one after another, and prints which modules are imported after each
RUN = """
import json, runpy, sys
from contextlib import redirect_stdout, suppress
from io import StringIO
imported = {}
for command in json.loads(sys.argv[1]):
    name, *arguments = command
    sys.argv = [name, *arguments]
    with redirect_stdout(StringIO()), suppress(SystemExit):
        run = runpy.run_path if name.endswith(".py") else runpy.run_module
        run(name, run_name="__main__")
    imported[" ".join(command)] = sorted({module.partition(".")[0] for module in sys.modules})
print(json.dumps(imported))
"""


def imported_by(commands: list[list[str]], code: str = RUN) -> dict[str, set[str]]:
    """Return the packages that are imported after each command, all in one fresh process."""
    run = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {command: {*packages} for command, packages in json.loads(done.stdout).items()}


def test_help_imports_nothing_large():
    words = [command.removeprefix("python ").removeprefix("-m ").split() for command in COMMANDS]
    found = imported_by([[name, *rest, "--help"] for name, *rest in words if name not in DRAWING])
    assert len(found) > 10
    assert {command: packages & LARGE for command, packages in found.items() if packages & LARGE} == {}


@pytest.mark.parametrize("name", sorted(DRAWING))
def test_help_of_what_draws_imports_opencv_only(name):
    [packages] = imported_by([[name, "--help"]]).values()
    assert packages & LARGE == {"cv2"}


def test_wrong_settings_import_nothing_large():
    programs = ["pose_transfer_train.py", "pose_transfer_test.py", "pose_transfer_verify.py"]
    wrong = [[name, *words] for name in programs for words in (["X", "1"], ["--config_file", "missing.yaml"])]
    assert all(not packages & LARGE for packages in imported_by(wrong).values())


def test_preparation_of_a_dataset_imports_no_model(tmp_path):
    commands = [[f"generate_{name}_datasets.py", "--root_dir", str(tmp_path)] for name in ("fashion", "market")]
    verify = ["pose_transfer_verify.py", "INPUT.ROOT_DIR", str(tmp_path)]
    for packages in imported_by([*commands, verify]).values():
        assert packages & LARGE <= {"cv2"}


def test_the_pipeline_imports_no_scores_films_and_pose_networks():
    code = """
import json, sys
from inference.pipeline import CFLDPipeline
from inference.pose_library import library
print(json.dumps({"": sorted({module.partition(".")[0] for module in sys.modules})}))
"""
    [packages] = imported_by([], code).values()
    assert packages & LARGE <= MODELS | {"cv2"}
