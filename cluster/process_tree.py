"""The end of a worker's process and of all that it has started, on whatever machine it is.

A process that hangs in a driver, or that is stopped, does not end when it is asked to, and holds
its GPU's memory for as long as it lives.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

GONE_SECONDS = 10.0


@dataclass(frozen=True)
class ProcessOnNode:
    """A process of the cluster.

    Attributes:
        node_id: Ray's name of its machine; empty outside of Ray.
        pid: Its number there.
        started_at: When it started, as `psutil.Process.create_time` tells it.
    """

    node_id: str
    pid: int
    started_at: float


def this_process() -> ProcessOnNode:
    """Describe the process of the actor or task that asks."""
    # Asking for the context would start a Ray where there is none.
    node_id = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    return ProcessOnNode(node_id, os.getpid(), psutil.Process().create_time())


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


def end_process_tree_on_its_node(process: ProcessOnNode) -> Any:
    """Have a process of any machine of the cluster killed, and its descendants.

    Returns:
        Ray's reference, which resolves when it is gone. It fails where the machine is gone, too.
    """
    there = NodeAffinitySchedulingStrategy(process.node_id, soft=False)
    remote = ray.remote(num_cpus=0, max_retries=0)(end_process_tree)
    return remote.options(scheduling_strategy=there).remote(process.pid, process.started_at)
