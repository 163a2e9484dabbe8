"""Programs that may have several processes: report each error once."""

import ctypes
import functools
import os
import signal
import sys
import time
from collections.abc import Callable

from utils.errors import InputError, one_line_errors
from utils.ranks import is_first_process

PR_SET_PDEATHSIG = 1  # option of prctl on Linux
LOST = 75  # exit status EX_TEMPFAIL: run the program again
FIRST_PROCESS_SECONDS = 10  # for the first process to report the error that all share


class LostProcesses(InputError):
    """Other processes of this program are gone; restarting all of them resumes the run."""

    status = LOST


def entrypoint(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate the `main` of a program that may have several processes, like `one_line_errors`.

    Usually all processes find the same error. The first process prints it and exits, and the launcher ends the others.
    If another process is still alive after `FIRST_PROCESS_SECONDS`, the error is its own, and it prints it.
    """

    @functools.wraps(main)
    def run() -> None:
        end_with_launcher()
        try:
            main()
        except (InputError, OSError):
            if not is_first_process():
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(FIRST_PROCESS_SECONDS)
            raise
        except (RuntimeError, MemoryError) as error:
            if (machine_error := _machine_error(error)) is None:
                raise
            raise machine_error from None

    return one_line_errors(run)


def _machine_error(error: Exception) -> InputError | None:
    """Return the error a user reads where memory or other processes are missing; None for any other error."""
    import torch

    cause = (str(error).strip().splitlines() or [""])[0][:160]
    again = "run again to resume from the last checkpoint"
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    if on_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator" in cause:
        return InputError(
            f"not enough {'GPU ' if on_gpu else ''}memory; choose smaller sizes, a smaller TEST.MICRO_BATCH_SIZE, or "
            "in training more ACCELERATE.GRADIENT_ACCUMULATION_STEPS or MODEL.GRADIENT_CHECKPOINTING on"
        )
    # NCCL has error classes for a process that is gone, gloo only messages
    if isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error):
        return LostProcesses(f"lost the other processes ({cause}); their messages, if any, are above; {again}")
    if cause.startswith("DataLoader worker"):
        return InputError(
            f"a data loader process was killed ({cause}), usually for lack of memory; choose a smaller "
            f"INPUT.NUM_WORKERS and TEST.NUM_WORKERS, and {again}"
        )
    return None


def end_with_launcher() -> None:
    """On Linux, send this process SIGTERM when the launcher of several processes ends, for whatever reason."""
    if "RANK" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
