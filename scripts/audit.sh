#!/usr/bin/env bash
# List the known vulnerabilities (https://osv.dev) of the packages in constraints.txt with pip-audit:
#     bash scripts/audit.sh
# Exit status 1 if there are any. Without access to pip-audit or the database, the audit is skipped with one line.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
activate_environment
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
if ! timeout 120 python -m pip install --quiet --disable-pip-version-check --target "$tools" pip-audit 2>"$tools/log"; then
    echo "audit skipped: pip-audit cannot be installed ($(tail -n 1 "$tools/log" | cut -c1-120))"
    exit 0
fi
options=(--requirement constraints.txt --no-deps --disable-pip --vulnerability-service osv --progress-spinner off)
status=0
PYTHONPATH=$tools timeout 120 python -m pip_audit "${options[@]}" --format columns \
    >"$tools/found" 2>"$tools/log" || status=$?
if grep -q "No known vulnerabilities found\|known vulnerabilit" "$tools/log"; then
    cat "$tools/found" "$tools/log"
    exit "$status"
fi
echo "audit skipped: the database cannot be reached ($(tail -n 1 "$tools/log" | cut -c1-120))"
