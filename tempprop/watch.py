"""How work that takes long tells whoever waits for it how far it is."""

from collections.abc import Callable

Watch = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


def nobody(doing: str, done: int, total: int) -> None:
    """Is the watch of those who do not want to know."""
