"""How many workers a run has, what each takes from the cluster, and how one is started."""

import os
from dataclasses import dataclass, replace
from typing import Any

import ray

from cluster.worker import RenderWorkerActor
from tempprop.planned_clip import PlannedClip
from tempprop.spec import RenderConfig

MOST_CLIPS_PER_WORKER = 8
"""Clips that a worker may hold, however short they are."""

THREADS_PER_WORKER = MOST_CLIPS_PER_WORKER + 2
"""One for each clip, and two to answer and to stop."""


@dataclass(frozen=True)
class WorkerLayout:
    """What the workers of a run take from the cluster.

    Attributes:
        num_workers: How many.
        num_gpus: GPUs of each.
        torch_threads: Threads of PyTorch of each.
    """

    num_workers: int
    num_gpus: float
    torch_threads: int


@dataclass(frozen=True)
class WorkerFactory:
    """Everything that it takes to start one more worker.

    Attributes:
        layout: How many, and the resources of each.
        out: Output location.
        config: Model and look.
        run_id: The run.
        actor: Ray's class of a worker.
    """

    layout: WorkerLayout
    out: str
    config: RenderConfig
    run_id: str
    actor: Any = RenderWorkerActor

    def now(self) -> "WorkerFactory":
        """Look again at how many workers fit on the cluster, where the configuration leaves it."""
        if self.config.workers.num_workers is not None or not self.layout.num_gpus:
            return self
        layout = replace(self.layout, num_workers=worker_layout(self.config).num_workers)
        return replace(self, layout=layout)

    def start(self, name: str, upcoming: PlannedClip | None = None) -> Any:
        """Ask Ray for one more worker; the handle is given at once, the process comes later.

        Args:
            name: What the run calls it.
            upcoming: The clip that it is likely to render first: where the configuration says how
                many workers there are, the worker comes up where that clip can be rendered. Where
                it does not, every GPU has a worker anyway.
        """
        needed = self.config.resources.get(upcoming.spec.model) if upcoming is not None else None
        counted = self.config.workers.num_workers is not None
        layout = self.layout
        environment = {"OMP_NUM_THREADS": str(layout.torch_threads)}
        if layout.num_gpus == 0:
            # Ray leaves the GPUs visible to actors that did not ask for one.
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return self.actor.options(
            num_cpus=0,
            num_gpus=layout.num_gpus,
            accelerator_type=needed if counted and layout.num_gpus else None,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=THREADS_PER_WORKER,
            runtime_env={"env_vars": environment},
        ).remote(name, self.out, self.config, self.run_id, layout.torch_threads)


def worker_layout(config: RenderConfig) -> WorkerLayout:
    """Fit the workers to the cluster that this process is connected to.

    Every GPU gets one worker. Without GPUs there is one worker on all the cores of this machine,
    since two would share the same memory bandwidth and load the model twice.

    Args:
        config: What it says counts; what it leaves open is decided here.
    """
    wanted = config.workers
    cluster_gpus = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
    num_gpus = wanted.num_gpus if wanted.num_gpus is not None else min(1.0, cluster_gpus)
    fitting = int(cluster_gpus / num_gpus) if num_gpus else 1
    num_workers = wanted.num_workers or max(1, fitting)
    cores = os.cpu_count() or 1
    threads = wanted.torch_threads or max(1, cores // num_workers)
    return WorkerLayout(num_workers, num_gpus, threads)
