"""The optimizer of the trainings: Muon for kernels and matrices, AdamW for everything else.

Muon (Jordan et al. 2024; scaled as in Liu et al. 2025, "Muon is Scalable for LLM Training")
replaces the update of a matrix by its nearest orthogonal one.  It needs fewer steps than AdamW,
which matters where a step takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn


class KernelOptimizer:
    """Muon on the inner kernels and matrices of a module, AdamW on its other parameters."""

    def __init__(
        self,
        module: nn.Module,
        is_inner: Callable[[str], bool],
        *,
        weight_decay: float = 0.01,
        shards: int = 2,
    ) -> None:
        """Sort the parameters.

        Args:
            module: What to train.
            is_inner: Tells by a parameter's name whether it is an inner one; the first and last
                layers and embeddings do better with AdamW.
            weight_decay: Decay of the parameters that Muon trains.
            shards: Into how many parts to divide Muon's work, for as many threads.
        """
        self.kernels = [p for n, p in module.named_parameters() if p.ndim > 1 and is_inner(n)]
        known = {id(p) for p in self.kernels}
        others = [p for p in module.parameters() if id(p) not in known]
        # Muon takes matrices only; a view of a kernel as one shares its memory.
        self.matrices = [nn.Parameter(p.data.view(p.shape[0], -1)) for p in self.kernels]
        self.muons = [
            torch.optim.Muon(
                self.matrices[shard::shards],
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            for shard in range(shards)
        ]
        self.adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, workers: ThreadPoolExecutor, muon_rate: float, adam_rate: float) -> None:
        """Update the parameters by their gradients.

        Args:
            workers: Threads to share the work.
            muon_rate: Learning rate of the kernels.
            adam_rate: Learning rate of the rest.
        """
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            if kernel.grad is not None:
                matrix.grad = kernel.grad.reshape(matrix.shape)

        def update(optimizer: torch.optim.Optimizer, rate: float) -> None:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

        tasks = [workers.submit(update, muon, muon_rate) for muon in self.muons]
        tasks.append(workers.submit(update, self.adam, adam_rate))
        for task in tasks:
            task.result()

    def state_dict(self) -> dict[str, Any]:
        """Give the state of all optimizers."""
        return {"muons": [m.state_dict() for m in self.muons], "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of all optimizers."""
        for muon, saved in zip(self.muons, state["muons"], strict=True):
            muon.load_state_dict(saved)
        self.adam.load_state_dict(state["adam"])
