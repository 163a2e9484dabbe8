#!/usr/bin/env bash
# Run the test suite, two files at a time:
#     bash scripts/test.sh              all tests except the groups below
#     bash scripts/test.sh long         only whole programs with further settings (4 minutes)
#     bash scripts/test.sh full         only the tests at full size (20 GB of memory)
#     bash scripts/test.sh faults       only the long tests of killed processes and lost machines (10 minutes)
#     bash scripts/test.sh browser      only the web page in a headless Chromium (Debian: apt-get install chromium)
#     bash scripts/test.sh cuda         only further CUDA code, on a device made of software
#     bash scripts/test.sh ARGUMENT ... pytest with these arguments, such as tests/models -k swin
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
activate_environment requirements-dev.txt requirements-app.txt
if [ $# = 0 ]; then
    set -- --numprocesses 2 --dist loadfile --durations 25
elif [[ " long full faults browser cuda " == *" $1 "* ]]; then
    set -- -m "$@"
fi
exec python -m pytest "$@"
