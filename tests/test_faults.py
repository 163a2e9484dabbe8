"""Faults, tried for real: kills, full disks, lost processes and machines, a clock that goes backwards.

After each one nothing is lost beyond the last checkpoint, no file under a final name is broken, and no process is
left behind (`Program.statuses` looks). The long ones are run by `bash scripts/test.sh faults`.
"""

import itertools
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import get_worker_info

import pose_transfer_train
from configs import load_config
from datasets import TrainPairs
from models.checkpoints import check_checkpoint
from tests.forked import LIMIT, Program, run, wait_for
from tests.shared import REPOSITORY
from tests.small import write_small
from tests.tiny import folder_of_run, run_main, short_run
from training.run_folder import RunFolder
from training.trainer import Trainer
from utils import files

EVALUATED = ["ACCELERATE.EVAL_PERIOD", "9"]


@pytest.fixture
def tiny(tmp_path):
    return write_small(tmp_path)


def arguments(config: Path, name: str, *more: str) -> list:
    return short_run(config, name, *EVALUATED, *more)


def check_files(run: RunFolder) -> None:
    """Every file under a final name is whole."""
    for path in run.root.rglob("*"):
        temporary = any(part.endswith((".partial", ".replaced")) for part in path.parts)
        if temporary or path.is_dir():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".yaml":
            load_config(path)
        elif path.suffix == ".png":
            Image.open(path).load()
    for checkpoint in run.root.glob("epochs_*/checkpoints"):
        check_checkpoint(checkpoint)


def steps_done(run: RunFolder) -> int:
    """Optimizer steps of the newest checkpoint."""
    pointer = run.root / "newest_checkpoint.json"
    name = json.loads(pointer.read_text())["checkpoint"] if pointer.exists() else "epochs_000/checkpoints"
    epochs, _, step = name.removesuffix("/checkpoints").removeprefix("epochs_").partition("_step_")
    return 5 * int(epochs) + int(step or 0)


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(run.newest() / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def write_slowly(rank: int) -> None:
    """Checkpoints take a third of a second and more, so that a kill finds one half-written."""
    sync = files.sync
    files.sync = lambda path: time.sleep(0.05) or sync(path)


def has_gone_on(run: RunFolder, before: int) -> bool:
    return steps_done(run) > before


def kill_again_and_again(tiny: Path, kills: int, epochs: int) -> None:
    chance, killed_while_writing = random.Random(0), 0
    opts = ["OPTIMIZER.EPOCHS", str(epochs), "ACCELERATE.CHECKPOINT_STEPS", "1"]
    run = folder_of_run(tiny, "killed")
    for number in range(kills):
        before = steps_done(run)
        program = Program("train", arguments(tiny, "killed", *opts), tiny.parent, prepare=write_slowly)
        if number % 2:
            wait_for(lambda: list(run.root.glob("epochs_*/checkpoints.partial/*.safetensors")), program.output())
        else:
            wait_for(partial(has_gone_on, run, before), program.output())
            time.sleep(chance.uniform(0, 1))
        program.kill(signal.SIGKILL)
        assert program.statuses() == [-signal.SIGKILL], program.output()
        killed_while_writing += bool(list(run.root.glob("epochs_*/checkpoints.partial")))
        check_files(run)
        assert steps_done(run) >= before
    assert killed_while_writing >= kills // 2 and kills // 2 <= steps_done(run) < 5 * epochs
    for name in ("killed", "whole"):
        assert run_main(pose_transfer_train, *arguments(tiny, name, *opts[:2])) == 0
    check_files(run)
    assert not list(run.root.rglob("*.partial")) and not list(run.root.rglob("*.replaced"))
    assert same(weights(run), weights(folder_of_run(tiny, "whole")))
    lines = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 5 * epochs + 1))


@pytest.mark.long
def test_killed_again_and_again(tiny):
    kill_again_and_again(tiny, kills=3, epochs=3)


@pytest.mark.faults
def test_killed_twenty_times_in_a_row(tiny):
    kill_again_and_again(tiny, kills=20, epochs=20)


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def no_room_for_checkpoints(rank: int) -> None:
    limit_files(100_000)


def no_room_for_images(rank: int) -> None:
    limit_files(6_000)


def no_room_for_logs(rank: int) -> None:
    begin = Trainer._train

    def filled(self):
        self.run.log(0).write_text("-" * 50_000 + "\n")  # far above all that is written beside it
        limit_files(50_001)
        return begin(self)

    Trainer._train = filled


@pytest.mark.parametrize(
    "prepare, place",
    [
        pytest.param(no_room_for_checkpoints, "checkpoints", marks=pytest.mark.long),
        (no_room_for_logs, "a file: cannot be written"),
    ],
)
def test_a_full_disk_while_training(tiny, prepare, place):
    opts = ["OPTIMIZER.EPOCHS", "1", "ACCELERATE.EVAL_PERIOD", "1", "ACCELERATE.CHECKPOINT_STEPS", "2"]
    statuses, output = run("train", arguments(tiny, "full", *opts), tiny.parent, prepare=prepare)
    errors = [line for line in output.splitlines() if "rror" in line]
    assert statuses == [1] and len(errors) == 1 and "Traceback" not in output, output
    assert errors[0].startswith("error: ") and place in errors[0] and "make room" in errors[0]
    check_files(folder_of_run(tiny, "full"))
    assert not list(folder_of_run(tiny, "full").root.glob("epochs_*/checkpoints*"))
    assert run_main(pose_transfer_train, *arguments(tiny, "full", *opts)) == 0


def test_a_full_disk_while_testing(tiny):
    assert run_main(pose_transfer_train, *arguments(tiny, "run", "OPTIMIZER.EPOCHS", "1")) == 0
    test = ["MODEL.PRETRAINED_PATH", folder_of_run(tiny, "run").newest(), "TEST.NUM_PAIRS", "3"]
    statuses, output = run("test", test, tiny.parent, prepare=no_room_for_images)
    errors = [line for line in output.splitlines() if "rror" in line]
    assert statuses == [1] and len(errors) == 1 and "_vis.png: cannot be written (File too large)" in errors[0], output
    assert not list(folder_of_run(tiny, "run").generated([64, 56]).glob("*.png*"))
    statuses, output = run("test", test, tiny.parent)
    assert statuses == [0] and "3 images (3 sampled in this run)" in output


@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_processes_is_killed(tiny, victim):
    opts = ["OPTIMIZER.EPOCHS", "8", "ACCELERATE.CHECKPOINT_STEPS", "1"]
    program, run_of_two = Program("train", arguments(tiny, "two", *opts), tiny.parent, 2), folder_of_run(tiny, "two")
    wait_for(lambda: steps_done(run_of_two) >= 2, program.output())
    program.kill(signal.SIGKILL, victim)
    statuses, output = program.statuses(), program.output(1 - victim)
    assert statuses[victim] == -signal.SIGKILL and statuses[1 - victim] == 75, output
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "lost the other processes" in errors[0] and "Traceback" not in output
    check_files(run_of_two)
    done = steps_done(run_of_two)
    statuses, output = run("train", arguments(tiny, "two", "OPTIMIZER.EPOCHS", "2"), tiny.parent, 2)
    assert 2 <= done < 10 and statuses == [0, 0] and "resuming from" in output, output


def kill_a_loader_process(rank: int) -> None:
    get = TrainPairs.__getitem__

    def deadly(self, index):
        if get_worker_info() and index == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, index)

    TrainPairs.__getitem__ = deadly


def test_a_process_that_loads_data_dies(tiny):
    opts = ["OPTIMIZER.EPOCHS", "1", "INPUT.NUM_WORKERS", "1"]
    statuses, output = run("train", arguments(tiny, "run", *opts), tiny.parent, prepare=kill_a_loader_process)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert statuses == [1] and len(errors) == 1 and "a data loader process was killed" in errors[0], output
    assert "Traceback" not in output
    assert run("train", arguments(tiny, "run", *opts), tiny.parent)[0] == [0]


def test_the_clock_goes_backwards(tiny, monkeypatch):
    clock = itertools.count(2e9, -3600)
    opts = ["OPTIMIZER.EPOCHS", "1", "ACCELERATE.EVAL_PERIOD", "1", "OPTIMIZER.MAX_MINUTES", "30"]
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: next(clock))
        assert run_main(pose_transfer_train, *arguments(tiny, "backwards", *opts)) == 0
    assert next(clock) < 2e9 - 3600
    assert run_main(pose_transfer_train, *arguments(tiny, "forwards", *opts)) == 0
    assert steps_done(folder_of_run(tiny, "backwards")) == 5
    assert same(weights(folder_of_run(tiny, "backwards")), weights(folder_of_run(tiny, "forwards")))


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def running(config: Path) -> list[str]:
    """Command lines of the processes that were given a config."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode())
    return [line for line in lines if str(config) in line]


@pytest.mark.faults
def test_a_machine_is_lost_and_back(tiny):
    """Two machines on loopback, each with its launcher, which find each other through torchrun's rendezvous."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = arguments(tiny, "nodes", "OPTIMIZER.EPOCHS", "6", "ACCELERATE.CHECKPOINT_STEPS", "1")
    run_of_nodes = folder_of_run(tiny, "nodes")

    def start(node: int, attempt: int) -> tuple[subprocess.Popen, Path]:
        variables = {"NNODES": "2", "NODE_RANK": str(node), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        output = tiny.parent / f"node{node}_{attempt}.txt"
        with open(output, "w") as file:
            process = subprocess.Popen(
                ["bash", "scripts/multi_node/pose_transfer_train.sh", "cpu", *map(str, settings)],
                cwd=REPOSITORY,
                env=os.environ | variables | {"OMP_NUM_THREADS": "1", "VIRTUAL_ENV": sys.prefix},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return process, output

    (first, output), (second, _) = start(0, 0), start(1, 0)
    try:
        wait_for(lambda: steps_done(run_of_nodes) >= 3, "no steps")
        for pid in (*children(second.pid), second.pid):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "restarting" in output.read_text(), "the first machine does not start again")
        check_files(run_of_nodes)
        lost_at = steps_done(run_of_nodes)
        second, _ = start(1, 1)
        assert first.wait(2 * LIMIT) == second.wait(2 * LIMIT) == 0, output.read_text()
    finally:
        for process in (first, second):
            process.kill()
    text = output.read_text()
    assert "lost the other processes" in text and "resuming from" in text and "Traceback" not in text
    assert 3 <= lost_at < 30 and steps_done(run_of_nodes) == 30
    wait_for(lambda: not running(tiny), "orphan processes")
