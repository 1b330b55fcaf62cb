import itertools

import pytest

from resources.core import warm


@pytest.fixture
def staying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_stays", True)
    monkeypatch.setattr(warm, "_kept", type(warm._kept)())


def test_a_process_that_ends_keeps_nothing():
    made = itertools.count()
    assert [warm.kept("model", "a", made.__next__, most=9) for _ in range(2)] == [0, 1]


@pytest.mark.usefixtures("staying")
def test_what_was_not_used_for_longest_goes():
    made = itertools.count()

    def model(key: str) -> int:
        return warm.kept("model", key, made.__next__, most=2)

    assert [model(key) for key in "abab"] == [0, 1, 0, 1]
    assert model("c") == 2  # in the place of a
    assert [model(key) for key in "bc"] == [1, 2]
    assert model("a") == 3
    assert warm.kept("client", "a", made.__next__, most=1) == 4
    assert model("a") == 3


@pytest.mark.usefixtures("staying")
def test_a_process_keeps_what_is_its_own(monkeypatch: pytest.MonkeyPatch):
    made = itertools.count()
    assert warm.kept("model", "a", made.__next__, most=1) == 0
    monkeypatch.setattr(warm.os, "getpid", lambda: 1)  # as after a fork
    assert warm.kept("model", "a", made.__next__, most=1) == 1
