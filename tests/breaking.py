"""A run that is broken off at one of its writes, in this process: what was written stays."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest.mock import patch

from pymongo.collection import Collection

from resources.batch_store.files import Files

Moment = Literal["before", "half", "after"]
"""When the write that is not survived ends it; `half` sends half of a bulk write."""

_COMMANDS = (
    "bulk_write", "insert_one", "insert_many", "update_one", "update_many", "delete_one",
    "delete_many", "find_one_and_update",
)  # fmt: skip


class BrokenOff(BaseException):
    """No `Exception`: what handles errors must not get hold of it, as of no kill."""


@dataclass(frozen=True)
class Break:
    """Where a run ends.

    Attributes:
        write: At which of its writes to MongoDB and to the batch store, from 1.
        moment: Before it is done, half way, or when nobody has heard yet that it is done.
        killed: Nothing can be written any more; else the run is cancelled, and may tidy up.
    """

    write: int
    moment: Moment
    killed: bool


@contextmanager
def broken_off(at: Break) -> Iterator[Callable[[], bool]]:
    """Break off what is done in the block; tells whether it has come to that."""
    lock, writes, over = threading.Lock(), 0, False

    def wrapped(write: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            nonlocal writes, over
            with lock:
                writes += 1
                mine = writes == at.write
                dead = over and at.killed
                over = over or mine
            if dead:
                raise BrokenOff
            if mine:
                if at.moment == "after":
                    write(*args, **options)
                elif at.moment == "half" and write.__name__ == "bulk_write":
                    owner, requests, *others = args
                    if half := requests[: len(requests) // 2]:
                        write(owner, half, *others, **options)
                raise BrokenOff
            return write(*args, **options)

        return counted

    with patch.object(Files, "write", wrapped(Files.write)):
        patches = [
            patch.object(Collection, name, wrapped(getattr(Collection, name))) for name in _COMMANDS
        ]
        for each in patches:
            each.start()
        try:
            yield lambda: over
        except BrokenOff:
            pass
        finally:
            for each in patches:
                each.stop()
