"""Workers as jobs of Slurm, by dask-jobqueue: python examples/slurm/jobqueue.py CONFIG [JOBS]

Run it on a node that stays up for as long as the run takes. gpu_pile[cluster] and dask-jobqueue have to be installed;
the inputs and the run directory have to be on a file system that all nodes share. For PBS, LSF or SGE take the class
of that name instead.
"""

from __future__ import annotations

import sys

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client

import gpu_pile as gp


def main(config: str, jobs: str = "4") -> None:
    # As docs/cluster.md explains: after three deaths of workers on one range the run stops and names it.
    dask.config.set({"distributed.scheduler.allowed-failures": 2})
    with SLURMCluster(
        cores=32,
        processes=32,  # one range at a time in each; with fewer processes, set cluster.threads
        memory="128GiB",
        walltime="12:00:00",
        interface="ib0",
        local_directory="$TMPDIR",
        job_script_prologue=["export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False"],
    ) as cluster:
        cluster.scale(jobs=int(jobs))
        with Client(cluster) as client:
            run = gp.run(config, client=client)
    print(run.reasons())


if __name__ == "__main__":
    main(*sys.argv[1:])
