"""A stream in pieces of bounded size: so many items, and so many bytes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar, cast

T = TypeVar("T")

WINDOW_BYTES = 16 * 1024**2
"""What is held of records at once: as much as one document of MongoDB may be.

A stage holds a few windows at a time, each once as it was read and once as it is written. More
would make nothing faster: records of a kilobyte reach the limits on their number long before.
"""


def windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter; `itertools.batched` of Python 3.12."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items; while one is worked on, the next is fetched in another thread."""
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, iterator, end)
            yield cast(T, item)


def sized_windows(
    items: Iterable[T], size: int, size_of: Callable[[T], int], max_bytes: int = WINDOW_BYTES
) -> Iterator[list[T]]:
    """Lists of at most `size` items and `max_bytes`; an item above that goes alone."""
    window: list[T] = []
    held = 0
    for item in items:
        more = size_of(item)
        if window and (len(window) >= size or held + more > max_bytes):
            yield window
            window, held = [], 0
        window.append(item)
        held += more
    if window:
        yield window
