"""scripts/quickstart.sh: its steps in order, with a stub `python`; the real thing takes minutes."""

import os

import pytest

from tests.scripts.repository import copy_scripts, run_bash, write_stub

STUB = """
import os, sys
arguments = " ".join(sys.argv[1:])
if "is_available" in arguments:
    sys.exit(1)
if "newest_checkpoint.json" in arguments:
    print("epochs_007/checkpoints")
elif sys.argv[1] not in ("-c", "scripts/check_environment.py"):
    with open("commands.txt", "a") as file:
        print(arguments, file=file)
    if "pose_transfer_train.py" in arguments:
        if os.path.exists("interrupt"):
            sys.exit(130)
        os.makedirs("outputs/demo/quickstart")
"""


@pytest.fixture
def quickstart(tmp_path):
    """Run the quickstart in a folder of its own; gives the exit status and the programs that were run."""
    root = copy_scripts(tmp_path / "a folder", "PyYAML")
    stub = write_stub(tmp_path / "bin", STUB)

    def run() -> tuple[int, list[str]]:
        (root / "commands.txt").write_text("")
        process = run_bash(root, "scripts/quickstart.sh", PATH=f"{stub.parent}:{os.environ['PATH']}")
        return process.returncode, (root / "commands.txt").read_text().splitlines()

    run.root = root
    return run


def programs(commands: list[str]) -> list[str]:
    return [next(word for word in command.split() if word != "-m") for command in commands]


def test_draw_prepare_train_test(quickstart):
    status, commands = quickstart()
    assert status == 0
    assert programs(commands) == [
        "demo.drawn_people",
        "generate_fashion_datasets.py",
        "pose_transfer_train.py",
        "pose_transfer_test.py",
        "pose_transfer_test.py",
        "evaluation",
    ]
    assert "MODEL.PRETRAINED_PATH outputs/demo/quickstart/epochs_007/checkpoints" in commands[3]
    assert "MODEL.PRETRAINED_PATH pretrained_models/demo/checkpoint" in commands[4]
    assert all("INPUT.ROOT_DIR outputs/demo/fashion" in command for command in commands[2:5])


def test_a_second_run_does_not_train_again(quickstart):
    quickstart()
    status, commands = quickstart()
    assert status == 0 and "pose_transfer_train.py" not in programs(commands)


def test_an_interrupted_training_goes_on(quickstart):
    (quickstart.root / "interrupt").touch()
    status, commands = quickstart()
    assert status == 130 and programs(commands)[-1] == "pose_transfer_train.py"
    (quickstart.root / "interrupt").unlink()
    status, commands = quickstart()
    assert status == 0 and programs(commands)[2] == "pose_transfer_train.py"
