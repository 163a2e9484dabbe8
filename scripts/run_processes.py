"""Start an entrypoint in several processes, as `torchrun` does and with its options, and end as they end.

    python scripts/run_processes.py --nproc_per_node 2 --standalone pose_transfer_train.py [KEY VALUE ...]

Processes say themselves what is wrong; nothing is added, unless one was killed. The exit status is that of the
process that failed first, or 128 + the number of the signal that ended it or this one. A signal is passed on to
the processes, which have `SECONDS_TO_SAVE` to end on their own.
"""

import logging
import os
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

SECONDS_TO_SAVE = "600"


def main(arguments: list[str]) -> int:
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SECONDS_TO_SAVE)
    logging.disable(logging.CRITICAL)  # in this process alone
    try:
        run(parse_args(arguments))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        print(f"error: process {rank} was ended by {failure.signal_name()}", file=sys.stderr)
        return 128 - failure.exitcode
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
