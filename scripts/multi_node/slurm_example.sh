#!/usr/bin/env bash
# Train under Slurm on two machines with eight GPUs each, and resume after a preemption:
#     sbatch scripts/multi_node/slurm_example.sh
# Slurm sends SIGTERM two minutes before the end; training saves and exits with status 143, and the job is requeued.
# Create the environment before (bash scripts/test.sh does), and adapt the options to your cluster.
#SBATCH --job-name=cfld
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch, from the root of the repository}"

status=0
# since Slurm 22.05, srun does not inherit the number of CPUs from sbatch
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    bash scripts/multi_node/pose_transfer_train.sh 0,1,2,3,4,5,6,7 \
    ACCELERATE.RUN_NAME slurm ACCELERATE.CHECKPOINT_MINUTES 15 "$@" || status=$?
case $status in
    143 | 75 | 137) scontrol requeue "$SLURM_JOB_ID" ;; # terminated, or another machine failed
esac
exit "$status"
