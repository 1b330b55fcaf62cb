"""A shard whose storing fails, as that of one whose server has gone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from assets.work.opened import Opened
from assets.work.storing import Stored, store
from resources.core.errors import DeploymentError


@contextmanager
def failing(shard: int) -> Iterator[None]:
    """While this lasts."""

    def fails(o: Opened) -> Stored:
        if o.shard == shard:
            raise DeploymentError("no primary answers")
        return store(o)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("assets.stored_vectors.store", fails)
        yield
