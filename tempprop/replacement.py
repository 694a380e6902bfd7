"""A method of one object, replaced for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """Put another function in a method's place, on one instance, for the time of a `with` block.

    Afterwards the instance is as it was: with the method of its class, or with the function that
    somebody else (offloading, for example) had already put in its place.

    Args:
        owner: The instance.
        name: Name of the method.
        replacement: What is called instead, without `self`.
    """
    before = vars(owner).get(name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
