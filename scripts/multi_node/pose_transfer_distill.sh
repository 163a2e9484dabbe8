#!/usr/bin/env bash
# Distil a finished model into a student of few steps on several machines, with NNODES, NODE_RANK, MASTER_ADDR and
# shared folders as described in pose_transfer_train.sh beside this file; arguments as of single_gpu/.
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_node pose_transfer_distill.py "$@"
