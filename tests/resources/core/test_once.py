import threading
from concurrent.futures import ThreadPoolExecutor

from resources.core.once import once


class Slow:
    def __init__(self, go: threading.Event) -> None:
        self.go, self.begun, self.worked = go, threading.Event(), 0

    @once
    def value(self) -> object:
        """What it is worth."""
        self.begun.set()
        assert self.go.wait(30)
        self.worked += 1
        return object()


def test_it_is_worked_out_once():
    go = threading.Event()
    go.set()
    found = Slow(go)
    assert found.value is found.value
    assert found.worked == 1
    assert Slow(go).value is not found.value


def test_one_that_hangs_holds_up_no_other():
    never, at_once = threading.Event(), threading.Event()
    at_once.set()
    stuck = Slow(never)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(lambda: stuck.value) for _ in range(2)]
        assert stuck.begun.wait(30)
        assert Slow(at_once).value  # `functools.cached_property` would wait here in Python 3.11
        assert not any(each.done() for each in waiting)
        never.set()
        first, second = (each.result() for each in waiting)
    assert first is second is stuck.value
