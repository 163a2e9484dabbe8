"""Start an entrypoint in several processes, as `torchrun` or `accelerate launch` do and with their options.

    python scripts/run_processes.py --nproc_per_node 2 --standalone pose_transfer_train.py [KEY VALUE ...]
    python scripts/run_processes.py accelerate --config_file configs/accelerate/fsdp.yaml --num_processes 2 \
        pose_transfer_train.py [KEY VALUE ...]

Processes say themselves what is wrong; nothing is added, unless one was killed. An address or a file that the launcher
itself cannot take is one line and exit status 1. Otherwise the exit status is that of the process that failed first,
or 128 + the number of the signal that ended it or this one. A signal is passed on to the processes, which have
`SECONDS_TO_SAVE` to end on their own.

Where the processes of another machine are lost (exit status `LOST`), all of them are started again, as often as
the environment variable RESTARTS says: they wait for the machine to be back.
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
LOST = 75  # as in utils/processes.py, which takes seconds to import


def main(arguments: list[str]) -> int:
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SECONDS_TO_SAVE)
    logging.disable(logging.CRITICAL)  # in this process alone
    try:
        launch(arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        print(f"error: process {rank} was ended by {failure.signal_name()}", file=sys.stderr)
        return 128 - failure.exitcode
    except SignalException as error:
        return 128 + error.sigval
    except RendezvousError as error:
        print(f"error: the machines do not find each other: {' '.join(str(error).split())}", file=sys.stderr)
        return LOST
    except (OSError, ValueError, ImportError, YAMLError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def launch(arguments: list[str]) -> None:
    """Start the processes and wait for their end."""
    if arguments[:1] == ["accelerate"]:
        from accelerate.commands.launch import launch_command, launch_command_parser

        launch_command(launch_command_parser().parse_args(arguments[1:]))
    else:
        run(parse_args(arguments))


def start_again() -> None:
    """Replace this process by a fresh one, if it may be."""
    left = int(os.environ.get("RESTARTS", "0"))
    if left > 0:
        print(f"starting again, with the last checkpoint ({left - 1} more times)", file=sys.stderr, flush=True)
        os.environ["RESTARTS"] = str(left - 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the port of the rendezvous among them
        os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if status == LOST:
        start_again()
    sys.exit(status)
