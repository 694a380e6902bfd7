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
#SBATCH --signal=B:TERM@120
set -euo pipefail

export PATH="${TEMPPROP_BIN:+$TEMPPROP_BIN:}$PATH"
export RAY_AUTH_MODE=token
# One token for this job: whoever else is on the network cannot join its cluster.
RAY_AUTH_TOKEN="${RAY_AUTH_TOKEN:-$(python3 -c 'import secrets; print(secrets.token_hex(32))')}"
export RAY_AUTH_TOKEN

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Jobs that share a network do not share ports.
port=$((20000 + SLURM_JOB_ID % 20000))
address="$head_node:$port"

trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head_node" \
    ray start --head --port="$port" --ray-client-server-port=$((port + 20000)) \
    --include-dashboard=false --disable-usage-stats --block &
until ray health-check --address "$address" >/dev/null 2>&1; do
    kill -0 $! || { echo "Ray did not start on $head_node" >&2; exit 1; }
    sleep 1
done
if ((SLURM_JOB_NUM_NODES > 1)); then
    srun --overlap --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks-per-node=1 --exclude="$head_node" \
        ray start --address="$address" --disable-usage-stats --block &
fi

# Workers are started on the nodes as these join. A signal of Slurm's reaches this shell only.
tempprop render "$@" --ray-address "$address" &
render=$!
trap 'kill -TERM "$render"' TERM
code=0
wait "$render" || code=$?
# The signal ends the first wait, and the batch ends in order meanwhile.
while kill -0 "$render" 2>/dev/null; do wait "$render" && code=0 || code=$?; done
exit "$code"
