#!/bin/bash
#SBATCH --nodes=4 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=64 --time=12:00:00
# sbatch examples/slurm/run.sh: a scheduler of Dask, a worker per GPU of every node, and the run.
# Inputs, pile.yaml and the run directory are on a file system that all nodes share.
# Without GPUs the workers are: srun dask worker --scheduler-file "$F" --nthreads 1 --nworkers 64
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=2 DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False
F=$PWD/scheduler-$SLURM_JOB_ID.json
dask scheduler --scheduler-file "$F" --interface ib0 &
srun dask cuda worker --scheduler-file "$F" --interface ib0 --local-directory "$TMPDIR" &
until [ -s "$F" ]; do sleep 1; done
gpu-pile run pile.yaml --cluster "scheduler-file=$F" --set cluster.threads=8
