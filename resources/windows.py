"""A stream in pieces of bounded size; `itertools.batched` of Python 3.12, with lists."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window
