"""How long texts are: the sample against all of them, and what batches know of their tokens."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.work.lengths import Corpus, counted, estimated
from resources.batch_store.store import BatchStore, EmbeddingBatch
from resources.core.chunks import hash_text
from resources.core.lineage import Lineage
from resources.core.space import EmbeddingSpace

AT = datetime(2026, 11, 26, tzinfo=UTC)
LOCAL = EmbeddingSpace("sentence_transformers", "a-model", "1", 2, "", normalized=True)
REMOTE = EmbeddingSpace("voyage", "voyage-4", "", 2, "", normalized=True)


def corpus(texts: list[str], kept: int = 20_000) -> Corpus:
    found = Corpus(_kept=kept)
    for text in texts:
        found.add(hash_text(text), len(text))
    return found


def write(
    store: BatchStore,
    space: EmbeddingSpace,
    tokens: dict[str, int],
    *,
    billed: int | None = None,
    made_by: str = "r1",
) -> None:
    """A batch of these texts; -1 where a text was not counted."""
    name = f"{space.provider}-{len(store.batches(space.id))}"
    texts = [hash_text(text) for text in tokens]
    store.write_batch(
        EmbeddingBatch(
            id=name,
            space=space,
            chunk_ids=texts,
            vectors=np.ones((len(texts), 2), np.float32),
            tokens=np.array([*tokens.values()], np.int32),
            lineage=[Lineage(space.id, space.model, text, name, made_by, AT) for text in texts],
            details={"run": "r1", "tokens": billed},
        )
    )


@settings(max_examples=40)
@given(texts=st.lists(st.text(max_size=3)), kept=st.integers(1, 8))
def test_what_is_kept_are_the_smallest_hashes_in_whatever_order(texts: list[str], kept: int):
    found, backwards = corpus(texts, kept), corpus(texts[::-1], kept)
    names = sorted({int(hash_text(text)[:16], 16): len(text) for text in texts}.items())
    assert sorted(found.texts.items()) == names[:kept] == sorted(backwards.texts.items())
    assert (found.chunks, found.characters) == (len(texts), sum(map(len, texts)))
    assert found.longest == max(map(len, texts), default=0)
    if len(names) < kept:
        assert found.distinct == len(names)


def test_of_many_texts_the_number_is_estimated_well_enough():
    found = corpus([str(number) for number in [*range(30_000), *range(30_000)]], kept=2_000)
    assert found.sampled
    assert (found.chunks, len(found.texts)) == (60_000, 2_000)
    assert found.distinct == pytest.approx(30_000, rel=0.1)


def test_without_a_batch_three_characters_are_a_token(tmp_path: Path):
    found = corpus(["abcdef", "abc"])
    assert counted(found, BatchStore(str(tmp_path))) == []
    tokens, basis = estimated(found, [], "openai", "any")
    assert (sorted(tokens), basis) == ([1, 2], None)


def test_what_a_model_counted_is_what_it_counts_and_the_rest_goes_by_it(tmp_path: Path):
    store = BatchStore(str(tmp_path))
    found = corpus(["a" * 10, "b" * 20, "c" * 30])
    write(store, LOCAL, {"a" * 10: 9, "b" * 20: 21, "elsewhere": 5})
    (counts,) = counted(found, store)
    assert (counts.space, counts.texts, counts.per_character) == (LOCAL, 2, 1.0)
    tokens, basis = estimated(found, [counts], "sentence_transformers", "a-model")
    assert (sorted(tokens), basis) == ([9, 21, 30], counts)


def test_a_bill_of_all_texts_of_a_request_tells_how_long_one_is(tmp_path: Path):
    store = BatchStore(str(tmp_path))
    found = corpus(["a" * 10, "b" * 20, "c" * 30])
    write(store, REMOTE, {"a" * 10: -1, "b" * 20: -1}, billed=15)
    # One of whose texts not all are known here, and one that two runs have paid for.
    write(store, REMOTE, {"c" * 30: -1, "elsewhere": -1}, billed=999)
    write(store, REMOTE, {"c" * 30: -1}, billed=999, made_by="another")
    (counts,) = counted(found, store)
    assert (counts.texts, counts.per_character) == (0, 0.5)
    tokens, _ = estimated(found, [counts], "voyage", "voyage-4")
    assert sorted(tokens) == [5, 10, 15]


def test_a_models_own_counts_come_before_those_of_another(tmp_path: Path):
    store = BatchStore(str(tmp_path))
    found = corpus(["a" * 10])
    write(store, LOCAL, {"a" * 10: 10})
    write(store, REMOTE, {"a" * 10: 2})
    for first, other in ((LOCAL, 10), (REMOTE, 2)):
        counts = counted(found, store, first.id)
        assert counts[0].space == first
        assert estimated(found, counts, "openai", "unheard-of")[0].tolist() == [other]
        assert estimated(found, counts, "voyage", "voyage-4")[0].tolist() == [2]
