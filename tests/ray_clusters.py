"""Clusters of several machines, here as processes of one."""

from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.cluster_utils import Cluster

OBJECT_STORE_BYTES = 100_000_000


@contextmanager
def ray_cluster(*machines: dict[str, object]) -> Iterator[Cluster]:
    """Start a head without GPUs and machines beside it, and connect to them.

    Args:
        machines: What each has, see `add_machine`.
    """
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 2,
            "num_gpus": 0,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        },
    )
    try:
        for machine in machines:
            add_machine(cluster, **machine)
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_machine(cluster: Cluster, num_gpus: int = 1, **options: object) -> None:
    cluster.add_node(
        num_cpus=2, num_gpus=num_gpus, object_store_memory=OBJECT_STORE_BYTES, **options
    )
