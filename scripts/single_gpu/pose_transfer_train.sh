#!/usr/bin/env bash
# Train on one device:
#     bash scripts/single_gpu/pose_transfer_train.sh 0|cpu [--config_file FILE] [KEY VALUE ...]
# Without --config_file: configs/fashion_256.yaml.
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch single_gpu pose_transfer_train.py "$@"
