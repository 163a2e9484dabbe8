#!/usr/bin/env bash
# Train on several devices of one machine:
#     bash scripts/multi_gpu/pose_transfer_train.sh 0,1,2,3|cpu,cpu [--config_file FILE] [KEY VALUE ...]
# Without --config_file: configs/fashion_256.yaml.
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_gpu pose_transfer_train.py "$@"
