import threading

import pytest

from cluster.read_ahead import read_ahead


def test_everything_comes_in_order():
    assert list(read_ahead((n for n in range(50)), 3)) == list(range(50))


def test_the_source_works_ahead_by_no_more_than_its_depth():
    made = []
    enough = threading.Event()

    def source():
        for n in range(10):
            made.append(n)
            if n == 2:
                enough.set()
            yield n

    items = read_ahead(source(), 2)
    assert next(items) == 0
    assert enough.wait(10), "two more are made while the consumer holds the first"
    assert made == [0, 1, 2]
    items.close()


def test_an_error_comes_after_the_items_before_it():
    def source():
        yield 1
        raise OSError("the disk")

    items = read_ahead(source(), 3)
    assert next(items) == 1
    with pytest.raises(OSError, match="the disk"):
        next(items)


def test_a_consumer_that_stops_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = read_ahead(source(), 2)
    next(items)
    items.close()
    assert closed.is_set()
