# Sourced by every script: strict mode, the repository's root as working directory, the Python environment.
# Paths on a script's command line are therefore relative to the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# newest_checkpoint RUN: the folder of the newest checkpoint in a run's folder
newest_checkpoint() {
    local folder
    folder=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["checkpoint"])' "$1/newest_checkpoint.json") &&
        echo "$1/$folder"
}

# Activate an environment with the packages of requirements.txt, and of further requirement files if named.
# An active environment is used as it is; else it is .venv here, made at the first use. A network is needed
# only where a package is missing.
activate_environment() {
    local requirements=(requirements.txt "$@") own=false missing
    if ! in_environment; then
        use_own_environment
        own=true
    fi
    is_recent python || fail "$(python --version 2>&1) is active; 3.11 or newer is needed"
    if ! missing=$(python scripts/check_environment.py "${requirements[@]}"); then
        install "$own" "$missing" "${requirements[@]}"
        missing=$(python scripts/check_environment.py "${requirements[@]}") ||
            fail "after installation still missing: ${missing//$'\n'/, }"
    fi
    python -c 'import cv2' 2>/dev/null ||
        fail "OpenCV does not load; on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"
}

# conda's base does not count: it holds conda itself.
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
    if [ ! -f .venv/bin/activate ]; then # venv writes it last
        for python in python3 python3.11 python3.12 python3.13 none; do
            is_recent "$python" && break
        done
        [ "$python" != none ] || fail "found no Python 3.11 or newer (python3, python3.11, .12, .13)"
        problem=$(mkdir -p .venv 2>&1) ||
            fail "$PWD: ${problem#mkdir: }; make this folder writable, or activate an environment elsewhere"
        echo "making the virtual environment .venv with $("$python" --version)"
        "$python" -m venv --clear .venv >/dev/null ||
            fail "cannot make .venv; on Debian and Ubuntu: apt-get install python3-venv"
    fi
    # not .venv/bin/activate: that holds the absolute path from when it was made
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
}

# install OWN MISSING REQUIREMENTS...: with the pinned versions; only a user's environment that has a torch
# (built for the driver, say) keeps what fits.
install() {
    local own=$1 missing=$2 arguments=() file log
    shift 2
    for file in "$@"; do arguments+=(-r "$file"); done
    if $own || ! python -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then
        arguments+=(-c constraints.txt)
    fi
    log=$(python -c 'import sys; print(sys.prefix)')/install.log
    echo "installing $(wc -l <<<"$missing") packages and what they need (several GB at first), log: $log"
    python -m pip install --disable-pip-version-check --progress-bar off "${arguments[@]}" 2>&1 |
        tee "$log" | progress_line ||
        fail "installation failed: $(sed -n '/^ERROR: /{s///p;q}' "$log") (a network is needed; log: $log)"
}

# pip's stages on one line of a terminal, nothing elsewhere
progress_line() {
    if [ -t 1 ]; then
        awk '/^(Collecting|Downloading|  Downloading|Installing)/ {
                 sub(/^ +/, ""); printf "\r\033[K%.78s", $0; fflush() }
             END { printf "\r\033[K" }'
    else
        cat >/dev/null
    fi
}
