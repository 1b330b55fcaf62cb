from collections.abc import Callable

import pytest

from resources.mongodb import lease_entries

NEXT: Callable = lease_entries._next


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens count the holders, from 1 on, so that a test can say how many there were."""
    monkeypatch.setattr(lease_entries, "_next", lambda token, now: token + 1)


@pytest.fixture
def in_time(counted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens as they are."""
    monkeypatch.setattr(lease_entries, "_next", NEXT)
