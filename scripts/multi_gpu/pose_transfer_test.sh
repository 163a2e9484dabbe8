#!/usr/bin/env bash
# Sample and score all test pairs on several devices, with the checkpoint's own config:
#     bash scripts/multi_gpu/pose_transfer_test.sh 0,1 \
#         MODEL.PRETRAINED_PATH outputs/CFLD/no_app/epochs_100/checkpoints
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_gpu pose_transfer_test.py "$@"
