"""scripts/distill_demo.sh: what it runs, with a stub `python`; the real thing takes a quarter of an hour."""

import os

from tests.scripts.repository import copy_scripts, run_bash, write_stub

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
    _, _, distill, *tests, scores, likeness = (root / "commands.txt").read_text().splitlines()
    assert distill.startswith("pose_transfer_train.py --config_file configs/distill.yaml --config_file configs/demo")
    assert distill.endswith("OPTIMIZER.LR 1e-5")
    assert "TEST.NUM_PAIRS 48" in distill  # the evaluation at its end would else take all pairs
    assert all(command.startswith("pose_transfer_test.py") for command in tests) and len(tests) == 13
    student = "MODEL.PRETRAINED_PATH outputs/demo_distill/demo/distilled/epochs_007/checkpoints"
    assert sum(student in command for command in tests) == 6
    assert scores.count("metrics.json") == 13 and "student_4=" in scores
    assert likeness.split()[2] == "outputs/demo_distill/demo/teacher_50/generated/128x128"
    assert likeness.count("=outputs") == 12 and "teacher_50=" not in likeness
