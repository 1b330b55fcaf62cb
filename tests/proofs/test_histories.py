"""Many histories of a pipeline."""

from pathlib import Path

import pytest

from tests.histories import KEY, History, MoodyServer, play


# A connection that was being made when its run was broken off is nobody's any more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_whatever_happens_in_many_histories_every_chunk_is_accounted_for(
    tmp_path: Path, mongod_uri: str, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with MoodyServer() as server:
        play(lambda: History(tmp_path, mongod_uri, server), examples=40, steps=12)
