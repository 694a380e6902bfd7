"""What to do when memory runs out: the same with fewer frames at a time."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from tempprop.errors import is_out_of_memory

Result = TypeVar("Result")


def halved_when_out_of_memory(work: Callable[[int], Result], size: int) -> tuple[Result, int]:
    """Do something with as many frames at a time as memory allows.

    Args:
        work: Takes the number of frames to do at once.
        size: How many to begin with, at least 1.

    Returns:
        What the work gave, and the size at which it did: half, a quarter and so on, if need be.

    Raises:
        torch.OutOfMemoryError: Memory does not suffice for one frame; or another error that
            `is_out_of_memory` knows.
    """
    while True:
        try:
            return work(size), size
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # Outside of the handler, whose traceback holds on to the tensors of the attempt.
        release_memory()
        size //= 2


def release_memory() -> None:
    """Give the GPU's memory back that nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
