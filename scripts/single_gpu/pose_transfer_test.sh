#!/usr/bin/env bash
# Sample and score all test pairs on one device, with the checkpoint's own config:
#     bash scripts/single_gpu/pose_transfer_test.sh 0 \
#         MODEL.PRETRAINED_PATH outputs/CFLD/no_app/epochs_100/checkpoints
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch single_gpu pose_transfer_test.py "$@"
