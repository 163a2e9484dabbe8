#!/usr/bin/env bash
# Distil a finished model into a student of few steps on several devices of one machine:
#     bash scripts/multi_gpu/pose_transfer_distill.sh 0,1,2,3 --config_file TEACHER/config.yaml \
#         --config_file configs/distill.yaml MODEL.PRETRAINED_PATH TEACHER
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_gpu pose_transfer_distill.py "$@"
