#!/usr/bin/env bash
# Sample and score all test pairs on several machines. For the variables and shared folders, see
# scripts/multi_node/pose_transfer_train.sh.
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_node pose_transfer_test.py "$@"
