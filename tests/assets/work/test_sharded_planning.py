"""What is to be done, divided by document: nothing twice, nothing left out, no shard in need."""

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.work.counts import Counts
from assets.work.planning import MADE, STORED, Part, Planner
from resources.core.chunks import Chunk, hash_text
from resources.core.errors import SourceError
from resources.core.keys import key
from resources.core.shards import SHARED, shard_of
from tests.assets.work.test_planning import SPACE, State, Store

IDS = st.integers(0, 12).map(lambda n: f"d{n}")
TEXTS = st.integers(0, 7).map(lambda n: f"text {n}")
SPACES = st.sampled_from([SPACE, "space-b"])


def divided(
    source: dict[str, str],
    stored: dict[str, State],
    *,
    shards: int,
    batches: dict[str, list[str]] | None = None,
    wider: list[str] = (),
    refused: set[str] = frozenset(),
    max_fraction: float = 1.0,
) -> tuple[Planner, list[tuple[int, Part]]]:
    store = Store()
    store.rows = {key(name): state for name, state in stored.items()}
    with Planner(SPACE, store.stored, window=3, shards=shards) as planner:
        for _ in planner.add(Chunk.whole(name, text, {}) for name, text in source.items()):
            pass
        planner.vanished(store.ids, len(store.rows), max_fraction=max_fraction)
        planner.resolve(
            store.known_texts,
            ((name, list(map(hash_text, held))) for name, held in (batches or {}).items()),
            lambda _, hashes: set(map(hash_text, refused)) & set(hashes),
            wider=[("wide", [("w", list(map(hash_text, wider)))], lambda _: True)],
        )
        return planner, list(planner.parts(max_chunks=2, max_tokens=1000, tokens=len))


def of_kind(parts: list[tuple[int, Part]], *kinds: str) -> list[tuple[int, Part]]:
    return [(shard, part) for shard, part in parts if part.kind in kinds]


@settings(max_examples=60)
@given(
    source=st.dictionaries(IDS, TEXTS, max_size=12),
    stored=st.dictionaries(IDS, st.tuples(TEXTS, SPACES), max_size=8),
    batched=st.lists(TEXTS, max_size=2),
    wider=st.lists(TEXTS, max_size=2),
    refused=st.sets(TEXTS, max_size=1),
    shards=st.integers(2, 5),
)
def test_shards_do_what_one_pipeline_does(source, stored, batched, wider, refused, shards):
    there = {name: State(space, hash_text(text)) for name, (text, space) in stored.items()}
    others = {"batches": {"old": batched}, "wider": wider, "refused": refused}
    one, whole = divided(source, there, shards=1, **others)
    many, parts = divided(source, there, shards=shards, **others)

    assert asdict(many.counts) == asdict(one.counts)
    assert len(many.by_shard) == shards
    for number, counts in enumerate(many.by_shard):
        mine = [name for name in source if shard_of(name, shards) == number]
        assert counts.source == len(mine) == sum(counts.of_source().values())
        assert min(value for value in asdict(counts).values() if isinstance(value, int)) >= 0

    def texts(of: list[tuple[int, Part]], *kinds: str) -> list[str]:
        return sorted(c.text_hash for _, part in of_kind(of, *kinds) for c in part.chunks)

    for kind in MADE:  # what is made, each text once
        assert texts(parts, kind) == texts(whole, kind)

    def ids(of: list[tuple[int, Part]], *kinds: str) -> list[str]:
        return sorted(c.id for shard, p in of_kind(of, *kinds) if shard != SHARED for c in p.chunks)

    # What is stored, refreshed, withdrawn and deleted, each chunk once and in its own shard.
    for kinds in (STORED, ("withdraw",), ("refresh",), ("delete",)):
        assert ids(parts, *kinds) == ids(whole, *kinds)
    assert {
        shard for shard, part in parts for c in part.chunks if shard != shard_of(c.id, shards)
    } <= {SHARED}
    # No shard needs a batch of another, and copies are made before any of them stores.
    shared = {part.batch for shard, part in parts if shard == SHARED}
    for number in range(shards):
        known = {"old", *shared}
        for shard, part in parts:
            if shard == number and part.kind in MADE:
                assert part.kind != "copy"
                known.add(part.batch)
            elif shard == number and part.kind == "reuse":
                assert part.batch in known
    assert all(part.kind in MADE for shard, part in parts if shard == SHARED)


def test_a_text_of_one_shard_alone_is_not_shared():
    names = [f"d{n}" for n in range(20)]
    other = next(f"e{n}" for n in range(99) if shard_of(f"e{n}", 2) != shard_of("d1", 2))
    same = next(f"f{n}" for n in range(99) if shard_of(f"f{n}", 2) == shard_of("d2", 2))
    source = {name: f"text {name}" for name in names} | {other: "text d1", same: "text d2"}
    _, parts = divided(source, {}, shards=2)
    assert [c.text for shard, part in parts if shard == SHARED for c in part.chunks] == ["text d1"]


def test_what_may_be_deleted_is_judged_over_the_whole_source():
    """One shard may lose most of its documents where the whole does not."""
    names = [f"d{n}" for n in range(20)]
    there = {name: State(SPACE, hash_text("same")) for name in names}
    gone = [name for name in names if shard_of(name, 2) == 0][:6]
    left = {name: "same" for name in names if name not in gone}
    planner, parts = divided(left, there, shards=2, max_fraction=0.3)
    assert [counts.deleted for counts in planner.by_shard] == [6, 0]
    assert {shard for shard, _ in of_kind(parts, "delete")} == {0}
    with pytest.raises(SourceError, match=r"6 of 20 stored chunks .* over 29%: nothing is deleted"):
        divided(left, there, shards=2, max_fraction=0.29)


def test_chunks_of_a_document_are_in_its_shard_whatever_they_are_called():
    whole = [
        Chunk(f"{source}#{n}", source, f"{source} {n}", hash_text(f"{source} {n}"), {}, "")
        for source in ("a", "b", "c", "d")
        for n in range(3)
    ]
    with Planner(SPACE, Store().stored, shards=3) as planner:
        list(planner.add(whole))
        planner.resolve(lambda *_: set(), [])
        found: dict[str, set[int]] = {}
        for shard, part in planner.parts(max_chunks=2, max_tokens=1000, tokens=len):
            for chunk in part.chunks:
                found.setdefault(chunk.source_id, set()).add(shard)
    assert found == {source: {shard_of(source, 3)} for source in ("a", "b", "c", "d")}


def test_counts_of_shards_are_added_up():
    whole = Counts(source=1, replaced_spaces={"a": 1})
    whole.add(Counts(source=2, deleted=3, replaced_spaces={"a": 1, "b": 2}))
    assert (whole.source, whole.deleted) == (3, 3)
    assert whole.replaced_spaces == {"a": 2, "b": 2}
