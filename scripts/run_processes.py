"""Start a program in several processes like `torchrun` or `accelerate launch`, with their options.

    python scripts/run_processes.py --nproc_per_node 2 --standalone pose_transfer_train.py [KEY VALUE ...]
    python scripts/run_processes.py accelerate --config_file configs/accelerate/fsdp.yaml --num_processes 2 \
        pose_transfer_train.py [KEY VALUE ...]

The processes print their own errors; the launcher reports a killed process and its own failures (exit status 1). The
exit status is that of the process that failed first, or 128 + the number of the signal that ended it or the launcher. A
signal is forwarded to the processes, which then have `SECONDS_TO_SAVE` to exit.

If the processes of another machine are lost (exit status `LOST`), the launcher restarts all processes, at most RESTARTS
times (an environment variable); they wait for the machine.
"""

import logging
import os
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import parse_args, run
from yaml import YAMLError

SECONDS_TO_SAVE = "600"
LOST = 75  # the same as in utils/entrypoints.py


def main(arguments: list[str]) -> int:
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SECONDS_TO_SAVE)
    logging.disable(logging.CRITICAL)  # only in this process
    try:
        if arguments[:1] == ["accelerate"]:
            from accelerate.commands.launch import launch_command, launch_command_parser

            launch_command(launch_command_parser().parse_args(arguments[1:]))
        else:
            run(parse_args(arguments))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        print(f"error: process {rank} was terminated by {failure.signal_name()}", file=sys.stderr)
        return 128 - failure.exitcode
    except SignalException as error:
        return 128 + error.sigval
    except RendezvousError as error:
        print(f"error: the machines cannot connect to each other: {' '.join(str(error).split())}", file=sys.stderr)
        return LOST
    except (OSError, ValueError, ImportError, YAMLError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def restart() -> None:
    """Replace this process by a new one if RESTARTS allows it."""
    left = int(os.environ.get("RESTARTS", "0"))
    if left > 0:
        print(f"restarting from the last checkpoint ({left - 1} more restarts)", file=sys.stderr, flush=True)
        os.environ["RESTARTS"] = str(left - 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # including the port of the rendezvous
        os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if status == LOST:
        restart()
    sys.exit(status)
