"""A property that is worked out when it is first asked for, and kept."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class once(Generic[T]):
    """As `functools.cached_property`, which in Python 3.11 has one lock for all instances.

    With that, whatever hangs in one instance holds up every other one in the process. Here nothing
    is locked: threads that ask one instance at the same time may each work it out, and all of them
    get what was kept first.
    """

    def __init__(self, work: Callable[[Any], T]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        return vars(instance).setdefault(self._name, self._work(instance))
