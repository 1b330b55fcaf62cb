"""What evaluations keep: vectors of queries, paid for once, and what was found."""

from datetime import UTC, datetime
from pathlib import Path

import bson
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.batch_store.evaluations import Found, QueryWindow
from resources.batch_store.files import MissingFile
from resources.batch_store.store import BatchStore
from resources.core.keys import key
from resources.core.space import EmbeddingSpace

SPACE = EmbeddingSpace("openai", "m", "", 4, "", True)


def rows(count: int, start: float = 0.0) -> np.ndarray:
    return (np.arange(count * 4, dtype=np.float32) + np.float32(start)).reshape(count, 4) / 7


@pytest.fixture
def store(tmp_path: Path) -> BatchStore:
    return BatchStore(str(tmp_path))


def test_vectors_come_back_to_the_bit_in_whatever_order_they_are_asked_for(store, tmp_path):
    store.queries.write(SPACE, "s", ["a", "b"], QueryWindow(rows(2)))
    store.queries.write(SPACE, "s", ["c", ""], QueryWindow(rows(2, 9), {1: "is empty"}))
    for reader in (store, BatchStore(str(tmp_path))):
        found = reader.queries.read(SPACE, "s", ["", "c", "x", "a"])
        assert set(found) == {"", "c", "a"}
        assert found[""] == "is empty"
        assert np.asarray(found["a"]).tobytes() == rows(2)[0].tobytes()
        assert np.asarray(found["c"]).tobytes() == rows(2, 9)[0].tobytes()


def test_queries_are_never_taken_for_documents(store):
    store.queries.write(SPACE, "s", ["a"], QueryWindow(rows(1)))
    assert store.spaces() == []
    assert store.batches(SPACE.id) == []
    other = EmbeddingSpace("openai", "m", "", 2, "", True)
    assert store.queries.read(other, "s", ["a"]) == {}, "nor for those of another space"
    assert store.queries.read(SPACE, "other prompt", ["a"]) == {}


def test_what_is_damaged_or_gone_is_not_known(store, tmp_path):
    store.queries.write(SPACE, "s", ["a"], QueryWindow(rows(1)))
    store.queries.write(SPACE, "s", ["b"], QueryWindow(rows(1)))
    first, second = sorted(tmp_path.glob("queries/*/*/*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-40])
    assert store.queries.read(SPACE, "s", ["a", "b"]) == {}
    assert BatchStore(str(tmp_path)).queries.read(SPACE, "s", ["a", "b"]) == {}


IDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(min_size=12, max_size=12).map(bson.ObjectId),
    st.floats(allow_nan=False),
    st.dictionaries(st.sampled_from(["a", "$oid", "b"]), st.integers(0, 9), max_size=2),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda at: at.replace(microsecond=0)
    ),
)
FOUND = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.lists(st.tuples(IDS, st.floats(allow_nan=False)), max_size=4),
    ),
    max_size=5,
)


@given(first=FOUND, second=FOUND)
def test_rankings_come_back_exactly_window_by_window(tmp_path_factory, first, second):
    store = BatchStore(str(tmp_path_factory.mktemp("found")))
    windows = [
        [Found(name, [hit[0] for hit in hits], [hit[1] for hit in hits]) for name, hits in window]
        for window in (first, second)
    ]
    for number, window in enumerate(windows):
        store.rankings.write("films", "one", number, window)
    back = list(store.rankings.read("films", "one"))
    assert [(name, list(map(key, ids)), scores) for name, ids, scores, _ in back] == [
        (name, list(map(key, ids)), scores) for window in windows for name, ids, scores, _ in window
    ]
    assert [list(map(type, ids)) for _, ids, _, _ in back] == [
        list(map(type, ids)) for window in windows for _, ids, _, _ in window
    ]
    assert store.rankings.windows("films", "one") == 2
    assert store.rankings.kept("films") == ["one"]
    store.rankings.remove("films", "one")
    with pytest.raises(MissingFile, match="not kept any more"):
        list(store.rankings.read("films", "one"))
