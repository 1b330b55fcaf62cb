"""The planner alone: no Dagster, no MongoDB, no model."""

import random
from dataclasses import dataclass

import pytest

from assets.work.counts import Counts
from assets.work.planning import Part, Planner, batch_id
from resources.core.chunks import Chunk, hash_fields, hash_text, size_of
from resources.core.errors import SourceError
from resources.core.keys import key

SPACE = "space-a"


@dataclass(frozen=True)
class State:
    space_id: str | None
    text_hash: str | None
    fields_hash: str | None = ""
    format: str | None = "float32"
    chunker: str | None = None
    cut: bool = False


class Store:
    """What the vector store would say."""

    def __init__(self, texts: dict[str, str] | None = None, space_id: str = SPACE) -> None:
        self.rows = {
            key(name): State(space_id, hash_text(text)) for name, text in (texts or {}).items()
        }
        self.asked: list[int] = []

    def stored(self, ids):
        self.asked.append(len(ids))
        keys = [key(i) for i in ids]
        return {name: self.rows[name] for name in keys if name in self.rows}

    def known_texts(self, space_id, hashes):
        mine = {state.text_hash for state in self.rows.values() if state.space_id == space_id}
        return mine & set(hashes)

    def ids(self):
        return [(name[1:], name[1:]) for name in self.rows]


def chunks(texts: dict[str, str]) -> list[Chunk]:
    return [Chunk.whole(key, text, {}) for key, text in texts.items()]


def plan(
    texts: list[Chunk],
    store: Store,
    *,
    batches: dict[str, list[str]] | None = None,
    max_chunks: int = 100,
    max_tokens: int = 10_000,
    window: int = 7,
    max_fraction: float = 1.0,
    max_bytes: int = 1_000_000,
) -> tuple[Planner, list[Part], list[Chunk]]:
    with Planner(SPACE, store.stored, window=window, max_bytes=max_bytes) as planner:
        repeated = [chunk for window_ in planner.add(texts) for chunk, _ in window_]
        planner.vanished(store.ids, len(store.rows), max_fraction=max_fraction)
        planner.resolve(
            store.known_texts,
            ((name, [hash_text(text) for text in held]) for name, held in (batches or {}).items()),
        )
        parts = [
            part
            for _, part in planner.parts(max_chunks=max_chunks, max_tokens=max_tokens, tokens=len)
        ]
        return planner, parts, repeated


def ids(parts: list[Part], kind: str) -> list[str]:
    return [chunk.id for part in parts if part.kind == kind for chunk in part.chunks]


def test_everything_is_new_in_an_empty_store():
    planner, parts, _ = plan(chunks({f"d{n}": f"text {n}" for n in range(20)}), Store())
    assert ids(parts, "embed") == [f"d{n}" for n in range(20)]
    assert planner.counts.new == planner.counts.to_embed == 20


def test_nothing_changed_plans_nothing_and_reads_no_batches():
    texts = {f"d{n}": f"text {n}" for n in range(20)}

    def never():
        raise AssertionError("batches were read although nothing is to be embedded")
        yield

    store = Store(texts)
    with Planner(SPACE, store.stored, window=7) as planner:
        list(planner.add(chunks(texts)))
        planner.vanished(never, len(texts), max_fraction=0)
        planner.resolve(store.known_texts, never())
        assert list(planner.parts(max_chunks=10, max_tokens=1000, tokens=len)) == []
    assert planner.counts.unchanged == 20
    assert store.asked == [7, 7, 6], "one look-up per window"


SORTS = {
    "set_aside": State(SPACE, hash_text("text"), chunker="cut"),
    "new": None,
    "of another space": State("space-b", hash_text("text"), chunker="cut"),
    "changed": State(SPACE, hash_text("before"), chunker="cut"),
    "cut": State(SPACE, hash_text("text"), chunker="cut", cut=True),
    "reformatted": State(SPACE, hash_text("text"), chunker="cut", format="int8"),
    "rechunked": State(SPACE, hash_text("text"), chunker="earlier"),
    "refreshed": State(SPACE, hash_text("text"), chunker="cut", fields_hash="before"),
    "unchanged": State(SPACE, hash_text("text"), hash_fields({"year": 1999}), chunker="cut"),
}
"""What is stored of a chunk with the text `text`, by what the planner counts it as."""


@pytest.mark.parametrize("refused", [False, True])
def test_every_chunk_counts_once_and_as_what_it_is(refused):
    states = {f"{sort} {n}": state for n in range(2) for sort, state in SORTS.items()}
    stored = {key(name): state for name, state in states.items() if state}

    def why_not(chunk: Chunk, state: State) -> str:
        assert state is stored[key(chunk.id)]
        return "of others" if "set_aside" in chunk.id else ""

    with Planner(SPACE, lambda _: stored, chunker="cut", why_not=why_not) as planner:
        source = [Chunk.whole(name, "text", {"year": 1999}) for name in states]
        (apart,) = planner.add(source)
        planner.resolve(lambda *_: set(), [], lambda _, hashes: set(hashes) if refused else set())
        parts = [part for _, part in planner.parts(max_chunks=100, max_tokens=1000, tokens=len)]
    assert [(chunk.id, why) for chunk, why in apart] == [
        ("set_aside 0", "of others"),
        ("set_aside 1", "of others"),
    ]
    work = {"new": 2, "changed": 4, "cut": 2, "reformatted": 2}
    counted = {"source": 16, "unchanged": 2, "rechunked": 2, "refreshed": 2, "set_aside": 2}
    counted |= {"held": 10} if refused else {**work, "to_embed": 1, "reused": 9}
    assert planner.counts == Counts(**counted, replaced_spaces={"space-b": 2})
    assert ids(parts, "refresh") == [
        f"{sort} {n}" for n in (0, 1) for sort in ("rechunked", "refreshed")
    ]
    withdrawn = ["of another space", "changed", "cut", "reformatted"] if refused else []
    assert ids(parts, "withdraw") == [f"{sort} {n}" for n in (0, 1) for sort in withdrawn]


def test_only_the_changed_text_is_embedded():
    before = {f"d{n}": f"text {n}" for n in range(20)}
    planner, parts, _ = plan(chunks({**before, "d7": "another"}), Store(before))
    assert [(part.kind, [c.id for c in part.chunks]) for part in parts] == [("embed", ["d7"])]
    assert (planner.counts.changed, planner.counts.unchanged) == (1, 19)


def test_a_changed_field_is_refreshed_and_not_embedded():
    store = Store({"a": "text", "b": "other"})
    chunk = Chunk.whole("a", "text", {"year": 1999})
    _, parts, _ = plan([chunk, *chunks({"b": "other"})], store)
    assert [(part.kind, part.chunks[0].id) for part in parts] == [("refresh", "a")]
    assert parts[0].chunks[0].fields == {"year": 1999}


def test_one_text_in_many_documents_is_embedded_once():
    texts = {f"d{n:03}": "the same" for n in range(50)} | {"other": "another"}
    planner, parts, _ = plan(chunks(texts), Store(), max_chunks=10)
    assert ids(parts, "embed") == ["d000", "other"]
    reused = [part for part in parts if part.kind == "reuse"]
    assert len(ids(parts, "reuse")) == 49
    assert {part.batch for part in reused} == {parts[0].batch}
    assert max(len(part.chunks) for part in reused) <= 10
    assert (planner.counts.to_embed, planner.counts.reused) == (2, 49)


def test_a_text_known_elsewhere_in_the_store_is_copied_first():
    # a's text moves to b while a gets a new one: its vector must be saved before a changes
    _, parts, _ = plan(chunks({"a": "new", "b": "old"}), Store({"a": "old"}))
    assert [(part.kind, part.chunks[0].id) for part in parts] == [("copy", "b"), ("embed", "a")]


def test_copies_come_in_parts_and_are_counted():
    texts = {f"d{n}": f"text {n}" for n in range(5)}
    moved = {f"moved {name}": text for name, text in texts.items()}
    planner, parts, _ = plan(chunks(moved), Store(texts), max_chunks=2, window=2)
    assert [len(part.chunks) for part in parts if part.kind == "copy"] == [2, 2, 1]
    assert ids(parts, "copy") == list(moved)
    assert (planner.counts.reused, planner.counts.to_embed) == (5, 0)


def test_batches_are_read_until_every_text_is_found_and_no_further():
    def batches():
        yield "of other texts", [hash_text("other")]
        yield "cut short", [hash_text("one"), hash_text("two")]
        yield "sound", [hash_text("two")]
        yield "sound too", [hash_text("one")]
        raise AssertionError("a batch was read though nothing is left to be found")

    asked: list[str] = []

    def whole(batch: str) -> bool:
        asked.append(batch)
        return batch != "cut short"

    with Planner(SPACE, Store().stored) as planner:
        list(planner.add(chunks({"a": "one", "b": "two", "c": "one"})))
        planner.resolve(Store().known_texts, batches(), whole=whole)
        parts = [part for _, part in planner.parts(max_chunks=10, max_tokens=1000, tokens=len)]
    assert asked == ["cut short", "sound", "sound too"]
    assert {part.batch: [c.id for c in part.chunks] for part in parts} == {
        "sound": ["b"],
        "sound too": ["a", "c"],
    }


def test_a_text_in_an_existing_batch_is_not_embedded_again():
    texts = {f"d{n}": f"text {n}" for n in range(10)}
    batches = {"batch-1": ["text 0", "text 1"], "batch-2": ["text 5"]}
    _, parts, _ = plan(chunks(texts), Store(), batches=batches)
    assert ids(parts, "embed") == ["d2", "d3", "d4", "d6", "d7", "d8", "d9"]
    reuse = {part.batch: [c.id for c in part.chunks] for part in parts if part.kind == "reuse"}
    assert reuse == {"batch-1": ["d0", "d1"], "batch-2": ["d5"]}


def test_another_space_is_replaced_and_said():
    planner, parts, _ = plan(chunks({"a": "text"}), Store({"a": "text"}, space_id="space-b"))
    assert ids(parts, "embed") == ["a"], "a vector of another space is no vector of this one"
    assert planner.counts.replaced_spaces == {"space-b": 1}


def test_repeated_ids_are_handed_back_within_and_across_windows():
    texts = [Chunk.whole("a", f"text {n}", {}) for n in range(2)]
    texts += [*chunks({f"d{n}": f"t{n}" for n in range(10)}), Chunk.whole("a", "later", {})]
    planner, parts, repeated = plan(texts, Store(), window=4)
    assert [chunk.text for chunk in repeated] == ["text 1", "later"]
    assert planner.counts.duplicate_ids == 2
    assert ids(parts, "embed").count("a") == 1


def test_one_and_true_are_different_ids():
    _, parts, repeated = plan([Chunk.whole(1, "x", {}), Chunk.whole("1", "y", {})], Store())
    assert not repeated
    assert [c.id for c in parts[0].chunks] == [1, "1"]


def test_vanished_documents_are_deleted_after_all_else():
    before = {f"d{n}": f"text {n}" for n in range(10)}
    texts = {key: text for key, text in before.items() if key != "d3"} | {"new": "new"}
    planner, parts, _ = plan(chunks(texts), Store(before))
    assert [part.kind for part in parts] == ["embed", "delete"]
    assert ids(parts, "delete") == ["d3"]
    assert planner.counts.deleted == 1


def test_what_is_no_longer_cut_is_outdated_where_its_document_is_still_there():
    sources = {"a/0": "a", "a/1": "a", "a/2": "a", "b": "b", "b/1": "b", "c/0": "c", "c/1": "c"}
    states = {key(name): State(SPACE, hash_text(name), chunker="cut") for name in sources}
    now = [Chunk("a/0", "a", "a/0", hash_text("a/0"), {}, ""), Chunk.whole("b", "b", {})]
    for max_fraction, refused in ((2 / 7, False), (1 / 7, True)):
        with Planner(SPACE, lambda _: states, window=2, chunker="cut") as planner:
            list(planner.add(now))
            if refused:
                with pytest.raises(SourceError, match="2 of 7 stored chunks"):
                    planner.vanished(sources.items, 7, max_fraction=max_fraction)
            else:
                planner.vanished(sources.items, 7, max_fraction=max_fraction)
            assert (planner.counts.outdated, planner.counts.deleted) == (3, 2)


def test_an_empty_source_never_empties_the_store():
    before = {f"d{n}": f"text {n}" for n in range(10)}
    with pytest.raises(SourceError, match=r"10 of 10 stored chunks.*allow_delete: true"):
        plan([], Store(before), max_fraction=0.2)
    _, parts, _ = plan([], Store(before), max_fraction=1.0)
    assert len(ids(parts, "delete")) == 10


def test_parts_respect_chunks_and_tokens():
    texts = {f"d{n}": "x" * 10 + str(n) for n in range(9)}
    planner, parts, _ = plan(chunks(texts), Store(), max_chunks=4)
    assert [len(part.chunks) for part in parts] == [4, 4, 1]
    assert planner.counts.to_embed == 9
    _, parts, _ = plan(chunks(texts), Store(), max_tokens=22)
    assert [len(part.chunks) for part in parts] == [2, 2, 2, 2, 1]
    _, parts, _ = plan(chunks(texts), Store(), max_bytes=2 * size_of(chunks(texts)[0]))
    assert [len(part.chunks) for part in parts] == [2, 2, 2, 2, 1]
    _, parts, _ = plan(chunks({"long": "x" * 500, "short": "y"}), Store(), max_tokens=25)
    assert [len(part.chunks) for part in parts] == [1, 1], "a text over the limit goes alone"


def test_windows_and_parts_are_bounded_by_bytes():
    draw = random.Random(7)
    texts = [
        Chunk.whole(
            n, f"text {n % 150}", {"payload": draw.randbytes(draw.choice([10, 900, 5_000]))}
        )
        for n in range(200)
    ]
    before = {f"d{n}": f"old {n}" for n in range(30)}
    texts += [Chunk.whole(name, old, {"payload": "x" * 900}) for name, old in before.items()]
    asked: list[int] = []
    store, by_id = Store(before), {chunk.id: chunk for chunk in texts}

    def stored(ids):
        asked.append(sum(size_of(by_id[chunk_id]) for chunk_id in ids) if len(ids) > 1 else 0)
        return store.stored(ids)

    with Planner(SPACE, stored, window=50, max_bytes=8_000) as planner:
        assert not [chunk for apart in planner.add(texts) for chunk in apart]
        planner.resolve(store.known_texts, [])
        parts = [part for _, part in planner.parts(max_chunks=40, max_tokens=10_000, tokens=len)]
    assert {part.kind for part in parts} == {"embed", "reuse", "refresh"}
    assert max(asked) <= 8_000
    for part in parts:
        assert len(part.chunks) == 1 or sum(map(size_of, part.chunks)) <= 8_000
    planned = {chunk.id: chunk for part in parts for chunk in part.chunks}
    assert planned == by_id, "nothing is lost, nothing is changed"
    assert ids(parts, "embed") == [chunk.id for chunk in texts[:150]], "in the order of the source"
    assert ids(parts, "refresh") == list(before)


def test_small_records_are_planned_as_they_always_were():
    texts = {f"d{n:05}": f"text {n}" for n in range(5_000)}
    _, parts, _ = plan(chunks(texts), Store(), max_chunks=1_000, max_tokens=200_000, window=2_000)
    assert [len(part.chunks) for part in parts] == [1_000] * 5


def fill_up(store: Store) -> None:
    with Planner(SPACE, store.stored) as planner:
        planner._work.db.execute("PRAGMA max_page_count = 20")
        list(planner.add(chunks({f"d{n}": f"text {n}" * 100 for n in range(1000)})))


def test_no_room_for_the_working_file_is_one_sentence():
    with pytest.raises(SourceError, match=r"disk is full.*SQLITE_TMPDIR"):
        fill_up(Store({}))


def test_batches_are_named_by_their_content():
    first = batch_id(SPACE, ["a", "b"])
    assert first == batch_id(SPACE, ["a", "b"])
    assert first == "7f26b4cfa94878b8", "else every batch there is would be written again"
    assert len({first, batch_id(SPACE, ["b", "a"]), batch_id("other", ["a", "b"])}) == 3


def test_another_format_is_written_from_batches_and_not_embedded():
    first, second = chunks({"a": "one", "b": "two"})
    states = {
        key(first.id): State(SPACE, first.text_hash, format="float32"),
        key(second.id): State(SPACE, second.text_hash, format="int8"),
    }
    with Planner(SPACE, lambda _: states, format="int8") as planner:
        list(planner.add([first, second]))
        planner.resolve(lambda *_: set(), [("batch-1", [first.text_hash, second.text_hash])])
        parts = [part for _, part in planner.parts(max_chunks=10, max_tokens=1000, tokens=len)]
    assert planner.counts.reformatted == 1
    assert [(part.kind, part.batch, [c.id for c in part.chunks]) for part in parts] == [
        ("reuse", "batch-1", [first.id])
    ]


@pytest.mark.parametrize("fine", [False, True])
def test_a_vector_of_the_beginning_of_a_text_is_work_unless_it_will_do(fine):
    first, second = chunks({"a": "one", "b": "two"})
    states = {
        key(first.id): State(SPACE, first.text_hash, cut=True),
        key(second.id): State(SPACE, second.text_hash),
    }
    with Planner(SPACE, lambda _: states, cut_is_fine=fine) as planner:
        list(planner.add([first, second]))
        planner.resolve(lambda *_: set(), [], lambda _, hashes: set(hashes))
        assert [chunk.id for held in planner.held() for chunk in held] == ([] if fine else ["a"])
        parts = [part for _, part in planner.parts(max_chunks=10, max_tokens=1000, tokens=len)]
    assert [(part.kind, part.chunks[0].id) for part in parts] == (
        [] if fine else [("withdraw", "a")]
    )
    counts = planner.counts
    assert (counts.unchanged, counts.cut, counts.held) == ((2, 0, 0) if fine else (1, 0, 1))
