"""An iterator that works while its consumer works."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


def read_ahead(source: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """Run a generator in a thread of its own, a bounded number of items ahead.

    Args:
        source: Closed when the consumer stops early, so that what it holds is let go.
        depth: Items that may wait for the consumer, at least 1.

    Yields:
        The items in order.

    Raises:
        Exception: Whatever `source` raises, after the items before it.
    """
    end: Any = object()
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
    pending = deque(pool.submit(next, source, end) for _ in range(depth))
    try:
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, source, end))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        source.close()
