#!/usr/bin/env bash
# The test suite, two files at a time. `bash scripts/test.sh full`: only the tests at full size (20 GB of memory);
# `bash scripts/test.sh faults`: only the long tests of kills and lost machines (ten minutes).
# Other arguments go to pytest, and one test is run at a time: bash scripts/test.sh tests/models -k swin
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
activate_environment requirements-dev.txt
if [ $# = 0 ]; then
    set -- --numprocesses 2 --dist loadfile --durations 25
elif [ "$1" = full ] || [ "$1" = faults ]; then
    set -- -m "$@"
fi
exec python -m pytest "$@"
