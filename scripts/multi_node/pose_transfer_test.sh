#!/usr/bin/env bash
# Sample and score all test pairs on several machines; variables
# and shared folders as described in pose_transfer_train.sh beside this file.
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_node pose_transfer_test.py "$@"
