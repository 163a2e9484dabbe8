"""Run modules of this folder one after another in a process, which imports the libraries once.

    python ../shared/fake_cuda/fake_cuda.py python -m tests.cuda MODULE[,MODULE ...] [ARGUMENT ...]

The process ends without the libraries' clean-up, which the device does not survive.
"""

import os
import sys
import traceback
from importlib import import_module

status = 1
try:
    for name in sys.argv.pop(1).split(","):
        import_module(f"tests.cuda.{name}").main()
        print(f"passed: {name}", flush=True)
    status = 0
except BaseException:
    traceback.print_exc()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)
