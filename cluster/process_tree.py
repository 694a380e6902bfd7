"""The end of a worker's process and of all that it has started, on whatever machine it is.

A process that hangs in a driver, or that is stopped, does not end when it is asked to, and holds
its GPU's memory for as long as it lives.
"""

from contextlib import suppress
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

GONE_SECONDS = 10.0


def end_process_tree(pid: int, started_at: float) -> None:
    """Kill a process of this machine and its descendants.

    Args:
        pid: Its number.
        started_at: Its start time, as `psutil.Process.create_time` tells it: the number may belong
            to another process by now, which is left alone.
    """
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() != started_at:
            return
        family = [*process.children(recursive=True), process]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=GONE_SECONDS)


def end_process_tree_on(node_id: str, pid: int, started_at: float) -> Any:
    """Have a process killed on another machine of the cluster.

    Returns:
        Ray's reference, which resolves when it is gone. It fails where the machine is gone, too.
    """
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    remote = ray.remote(num_cpus=0, max_retries=0)(end_process_tree)
    return remote.options(scheduling_strategy=there).remote(pid, started_at)
