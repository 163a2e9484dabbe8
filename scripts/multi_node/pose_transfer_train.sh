#!/usr/bin/env bash
# Train on several machines. Run this on each machine, with its own NODE_RANK (0 on the machine MASTER_ADDR):
#     NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 bash scripts/multi_node/pose_transfer_train.sh 0,1,2,3,4,5,6,7
# Under Slurm, with one task per node, the variables are set: srun bash scripts/multi_node/pose_transfer_train.sh ...
# If a machine fails, the others wait for it (10 minutes, RESTARTS=3 times). Run the same command on it again; all
# machines then resume from the last checkpoint.
# INPUT.ROOT_DIR and ACCELERATE.OUTPUT_DIR must be on a file system that all machines share.
# If the repository is shared, create the environment on one machine before (bash scripts/test.sh does).
source "$(dirname "${BASH_SOURCE[0]}")/../launch.sh"
launch multi_node pose_transfer_train.py "$@"
