"""What a process keeps from one step to the next, where it does the steps of many runs.

Elsewhere, in a process that ends with its run or serves searches, nothing is kept: who needs a
thing makes it, and has it as long as it needs it.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_stays = False
_kept: OrderedDict[tuple[int, str, Hashable], Any] = OrderedDict()


def stay() -> None:
    """From now on, in this process and those forked from it, things are kept."""
    global _stays
    _stays = True


def stays() -> bool:
    return _stays


def kept(kind: str, key: Hashable, make: Callable[[], T], *, most: int) -> T:
    """A thing that may be used again: by one thread at a time, as steps are done.

    Args:
        kind: What it is.
        key: All that decides over what is made.
        make: It.
        most: How many of its kind are kept; the one that was not used for longest goes.
    """
    if not _stays:
        return make()
    at = (os.getpid(), kind, key)  # what was made before a fork is not shared
    if at not in _kept:
        others = [each for each in _kept if each[:2] == at[:2]]
        for oldest in others[: max(0, len(others) - most + 1)]:
            del _kept[oldest]
        _kept[at] = make()
    _kept.move_to_end(at)
    return _kept[at]
