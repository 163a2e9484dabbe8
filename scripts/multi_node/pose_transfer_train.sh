#!/usr/bin/env bash
# Train on several machines. On each, with its own NODE_RANK (0 is the machine of MASTER_ADDR):
#     NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash scripts/multi_node/pose_transfer_train.sh 0,1,2,3,4,5,6,7
# Under Slurm, with one task a node, they are set: srun bash scripts/multi_node/pose_transfer_train.sh ...
# When a machine is lost, the others wait for it (ten minutes, RESTARTS=3 times): run the same command there again,
# and all go on from the last checkpoint.
# INPUT.ROOT_DIR and ACCELERATE.OUTPUT_DIR must be on a file system that all machines share.
# On a shared folder make the environment before (bash scripts/test.sh does): not all machines at once.
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_node pose_transfer_train.py "$@"
