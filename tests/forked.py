"""Programs in real processes that start within a second: forked from a server that has imported everything.

Several processes of a program are connected as by a launcher.
"""

import atexit
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import evaluation.checkpoint_evaluation  # noqa: F401  which the programs import when they run
import evaluation.folder_evaluation  # noqa: F401
import pose_transfer_evaluate
import pose_transfer_test
import pose_transfer_train
import training.distillation
import training.run  # noqa: F401
from tests.inference.estimators import turn_off_estimator
from tests.tiny import run_main

ENTRYPOINTS = {"train": pose_transfer_train, "test": pose_transfer_test, "evaluate": pose_transfer_evaluate}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
turn_off_estimator()  # in the server, and so in its processes
HIDDEN = {"CUDA_VISIBLE_DEVICES": "", "NULL_GPUS": "0"}  # GPUs, which do not survive a fork; the second is a stand-in's
LIMIT = 120  # seconds to wait for a condition or an exit


class Program:
    """A program in `count` processes on the CPU, each the leader of a process group; output goes to files.

    Args:
        name: key of `ENTRYPOINTS`.
        arguments: of the command line.
        folder: receives the output files.
        count: number of processes.
        prepare: a module-level function that each process calls with its rank before the program.
    """

    def __init__(
        self, name: str, arguments: list, folder: Path, count: int = 1, prepare: Callable[[int], None] | None = None
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.outputs = [folder / f"output{rank}.txt" for rank in range(count)]
        self.processes = [
            CONTEXT.Process(target=_run, args=(name, list(map(str, arguments)), rank, count, port, output, prepare))
            for rank, output in enumerate(self.outputs)
        ]
        for process, output in zip(self.processes, self.outputs):
            output.write_text("")
            with patch.dict(os.environ, HIDDEN):  # read when the server starts
                process.start()

    def kill(self, number: int, rank: int = 0) -> None:
        os.kill(self.processes[rank].pid, number)

    def statuses(self) -> list[int]:
        """Wait for the exit statuses; the processes must not leave other processes behind."""
        end = time.monotonic() + LIMIT
        for process in self.processes:
            process.join(end - time.monotonic())
        wait_for(lambda: not any(group_lives(process.pid) for process in self.processes), "orphan processes")
        return [process.exitcode for process in self.processes]

    def output(self, rank: int = 0) -> str:
        return self.outputs[rank].read_text()


def run(name: str, arguments: list, folder: Path, count: int = 1, prepare=None) -> tuple[list[int], str]:
    """Run a program; return the exit statuses and the output of the first process."""
    program = Program(name, arguments, folder, count, prepare)
    return program.statuses(), program.output()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def group_lives(leader: int) -> bool:
    """Return whether a process group has any process."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _run(name: str, arguments: list[str], rank: int, count: int, port: int, output: Path, prepare) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # for loader processes, as without this server
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)
    os.environ |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    if count > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if prepare:
        prepare(rank)
    status = run_main(ENTRYPOINTS[name], *arguments)
    atexit._run_exitfuncs()  # multiprocessing skips them
    sys.exit(status)
