# Sourced by every script: strict mode, the repository's root as working directory, the Python environment.
# Paths on the command line of a script are relative to the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# newest_checkpoint RUN: print the folder of the newest checkpoint in a run folder
newest_checkpoint() {
    local folder read='import json, sys; print(json.load(open(sys.argv[1]))["checkpoint"])'
    folder=$(python -c "$read" "$1/newest_checkpoint.json") && echo "$1/$folder"
}

# activate_environment [REQUIREMENTS ...]: use an environment with the packages of requirements.txt and the given files.
# This is the active environment, or else .venv in this folder, created on first use. Only a missing package needs a
# network.
activate_environment() {
    local requirements=(requirements.txt "$@") own=false missing
    if ! in_environment; then
        use_own_environment
        own=true
    fi
    is_recent python || fail "$(python --version 2>&1) is active; Python 3.11 or newer is required"
    if ! missing=$(python scripts/check_environment.py "${requirements[@]}"); then
        install "$own" "$missing" "${requirements[@]}"
        missing=$(python scripts/check_environment.py "${requirements[@]}") ||
            fail "still missing after the installation: ${missing//$'\n'/, }"
    fi
    python -c 'import cv2' 2>/dev/null ||
        fail "OpenCV cannot be imported; on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"
}

# conda's base environment does not count: it contains conda itself.
in_environment() {
    python -c 'import os, sys
conda = os.environ.get("CONDA_PREFIX") == sys.prefix and os.environ.get("CONDA_DEFAULT_ENV") != "base"
sys.exit(not (conda or sys.prefix != sys.base_prefix))' 2>/dev/null
}

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

use_own_environment() {
    local python problem
    if [ ! -f .venv/bin/activate ]; then # venv writes this file last
        for python in python3 python3.11 python3.12 python3.13 none; do
            is_recent "$python" && break
        done
        [ "$python" != none ] || fail "no Python 3.11 or newer found (tried python3, python3.11, .12, .13)"
        problem=$(mkdir -p .venv 2>&1) ||
            fail "$PWD: ${problem#mkdir: }; make this folder writable, or activate an environment elsewhere"
        echo "creating the virtual environment .venv with $("$python" --version)"
        "$python" -m venv --clear .venv >/dev/null ||
            fail "cannot create .venv; on Debian and Ubuntu: apt-get install python3-venv"
    fi
    # not .venv/bin/activate, which contains the absolute path of its creation
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
}

# install OWN MISSING REQUIREMENTS...: install the pinned versions. A user's environment with PyTorch (which may be
# built for its driver) keeps the versions that satisfy the requirements.
install() {
    local own=$1 missing=$2 arguments=() file log
    shift 2
    for file in "$@"; do arguments+=(-r "$file"); done
    if $own || ! python -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then
        arguments+=(-c constraints.txt)
    fi
    log=$(python -c 'import sys; print(sys.prefix)')/install.log
    echo "installing $(wc -l <<<"$missing") packages and their dependencies (several GB at first), log: $log"
    python -m pip install --disable-pip-version-check --progress-bar off "${arguments[@]}" 2>&1 |
        tee "$log" | progress_line ||
        fail "installation failed: $(sed -n '/^ERROR: /{s///p;q}' "$log") (it needs a network; log: $log)"
}

# Show pip's progress on one line of a terminal, and nothing without a terminal.
progress_line() {
    if [ -t 1 ]; then
        awk '/^(Collecting|Downloading|  Downloading|Installing)/ {
                 sub(/^ +/, ""); printf "\r\033[K%.78s", $0; fflush() }
             END { printf "\r\033[K" }'
    else
        cat >/dev/null
    fi
}
