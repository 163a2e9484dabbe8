#!/usr/bin/env bash
# Distil a finished model into a student of few steps on one device:
#     bash scripts/single_gpu/pose_transfer_distill.sh 0 --config_file TEACHER/config.yaml \
#         --config_file configs/distill.yaml MODEL.PRETRAINED_PATH TEACHER
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch single_gpu pose_transfer_distill.py "$@"
