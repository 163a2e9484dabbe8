#!/usr/bin/env bash
# The test suite. `bash scripts/test.sh full`: only the tests at full size (20 GB of memory).
# Other arguments go to pytest: bash scripts/test.sh tests/models -k swin
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
activate_environment requirements-dev.txt
if [ "${1:-}" = full ]; then
    shift
    set -- -m full "$@"
fi
exec python -m pytest "$@"
