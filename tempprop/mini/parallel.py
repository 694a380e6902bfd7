"""Gradients of one batch, computed in parts by several threads.

On a few cores that other programs use too, threads within each operation keep waiting for one
another thousands of times a step.  Threads that each take a share of the batch meet only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

Part = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]
"""Computes the loss of one share of a batch, and figures to report."""


def workers_of(count: int) -> ThreadPoolExecutor:
    """Start threads whose operations each use one core."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def set_gradients(
    workers: ThreadPoolExecutor, parameters: Sequence[nn.Parameter], parts: Sequence[Part]
) -> dict[str, Tensor]:
    """Compute the gradients of the parts' mean loss and store them with the parameters.

    Args:
        workers: Threads, from `workers_of`.
        parameters: What to differentiate by; their ``grad`` is overwritten.
        parts: Equal shares of the batch.

    Returns:
        The means of the parts' figures.
    """

    def run(part: Part) -> tuple[Mapping[str, Tensor], tuple[Tensor, ...]]:
        loss, figures = part()
        return figures, torch.autograd.grad(loss, parameters)

    results = list(workers.map(run, parts))
    for index, parameter in enumerate(parameters):
        parameter.grad = torch.stack([grads[index] for _, grads in results]).mean(0)
    names = results[0][0]
    return {name: torch.stack([r[0][name].detach() for r in results]).mean() for name in names}
