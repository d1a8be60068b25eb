#!/bin/bash
#SBATCH --job-name=mnist_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=00:30:00
# SIGUSR1 two minutes before the end: the run saves the step it is at and exits with 143.
#SBATCH --signal=USR1@120
#SBATCH --requeue

set -euo pipefail

# One process a GPU. distributed.initialize=auto sees the tasks of the step by itself: address, number and id.
# The folder has to be on a disk that all nodes share.
srun --kill-on-bad-exit=1 python -m mnist_jax.train \
    --config configs/default.py \
    --workdir "${WORKDIR:-$SLURM_SUBMIT_DIR/runs/slurm-$SLURM_JOB_ID}" || code=$?

# Saved and not finished: the job waits for its next turn under the same number, and goes on.
if [ "${code:-0}" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "${code:-0}"
