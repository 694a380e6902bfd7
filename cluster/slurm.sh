#!/usr/bin/env bash
# One batch on the nodes of a Slurm allocation:
#
#   sbatch --nodes=4 --gpus-per-node=8 --time=08:00:00 cluster/slurm.sh \
#       s3://studio/manifests/spring.parquet --out s3://studio/library --config sdxl
#
# Everything after the script's name goes to `tempprop render`. The environment of the job has to
# hold tempprop (activate it before sbatch, or set TEMPPROP_BIN to its bin directory) and the
# credentials of the bucket. Slurm's SIGTERM at the end of the time ends the batch in order; submit
# it again, and it goes on.
#SBATCH --job-name=tempprop
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=TERM@120
set -euo pipefail

export PATH="${TEMPPROP_BIN:+$TEMPPROP_BIN:}$PATH"
export RAY_AUTH_MODE=token
# One token for this job: whoever else is on the network cannot join its cluster.
RAY_AUTH_TOKEN="${RAY_AUTH_TOKEN:-$(python3 -c 'import secrets; print(secrets.token_hex(32))')}"
export RAY_AUTH_TOKEN

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Jobs that share a network do not share a port.
port=$((20000 + SLURM_JOB_ID % 20000))

# The same command on every node: one becomes the head and renders, the others lend it their GPUs
# until it is done.
exec srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    ray symmetric-run --address "$head_node:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    tempprop render "$@" --ray-address "$head_node:$port"
