"""scripts/distill_demo.sh: what it runs, with a stub `python`; the whole script takes a quarter of an hour."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.scripts.repository import copy_scripts, run_bash, write_stub
from tests.shared import REPOSITORY

STUB = """
import os, sys
arguments = " ".join(sys.argv[1:])
if "newest_checkpoint.json" in arguments:
    print("epochs_007/checkpoints")
elif sys.argv[1] not in ("-c", "scripts/check_environment.py"):
    with open("commands.txt", "a") as file:
        print(arguments, file=file)
"""


def test_distil_and_compare(tmp_path):
    root = copy_scripts(tmp_path / "a folder", "PyYAML")
    stub = write_stub(tmp_path / "bin", STUB)
    left = root / "outputs" / "demo_distill" / "demo" / "distilled"
    left.mkdir(parents=True)
    process = run_bash(
        root, "scripts/distill_demo.sh", "OPTIMIZER.LR", "1e-5", PATH=f"{stub.parent}:{os.environ['PATH']}"
    )
    assert process.returncode == 0, process.stderr
    assert not left.exists()  # of another teacher, perhaps
    _, _, distill, *tests, scores, similarity = (root / "commands.txt").read_text().splitlines()
    assert distill.startswith("pose_transfer_train.py --config_file configs/distill.yaml") and distill.endswith(
        "OPTIMIZER.LR 1e-5"
    )
    assert "TEST.NUM_PAIRS 48" in distill  # the evaluation at its end would else take all pairs
    assert all(command.startswith("pose_transfer_test.py") for command in tests) and len(tests) == 13
    student = "MODEL.PRETRAINED_PATH outputs/demo_distill/demo/distilled/epochs_007/checkpoints"
    assert sum(student in command for command in tests) == 6
    distilled = yaml.safe_load((REPOSITORY / "configs" / "demo_distill.yaml").read_text())["DISTILL"]
    guided = f"TEST.FULL_GUIDANCE_SCALE {distilled['FULL_GUIDANCE_SCALE']}"  # a student is sampled without
    assert all((guided in command) != (student in command) for command in tests)
    assert scores.count("metrics.json") == 13 and "student_4=" in scores
    assert similarity.startswith("- teacher_50=outputs/demo_distill/demo/teacher_50/generated/128x128 ")
    assert similarity.count("=outputs") == 13


def test_images_are_compared_with_the_teachers(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (2, 64, 48, 3), dtype=np.uint8)
    for name, added in (("teacher_50", 0), ("near", 1), ("far", 16)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(pixels):
            Image.fromarray(image + np.uint8(added)).save(tmp_path / name / f"{number}_vis.png")
    [program] = re.findall(r"<<'END'\n(.*)^END$", (REPOSITORY / "scripts/distill_demo.sh").read_text(), re.M | re.S)
    folders = [f"{name}={tmp_path / name}" for name in ("teacher_50", "near", "far")]
    command = [sys.executable, "-", *folders]
    process = subprocess.run(command, input=program, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    head, *lines = process.stdout.splitlines()
    column = head.replace("↑", "").replace("↓", "").split().index("PSNR") + 1
    values = {line.split()[0]: float(line.split()[column]) for line in lines}
    assert values == pytest.approx({"near": 20 * np.log10(255), "far": 20 * np.log10(255 / 16)}, abs=0.01)
