"""Runs of some records alone: they are as a whole comparison leaves them, the rest as it was."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pymongo
import pytest
import yaml
from bson import ObjectId
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from assets.about import ASSETS
from assets.checks import all_stored, few_in_quarantine
from assets.work.comparing import Planned, plan_work
from assets.work.embedding import embed
from assets.work.proving import index
from assets.work.spaces import complete
from assets.work.storing import store
from pipelines.framework.catalog import open_pipeline
from pipelines.operations.plan import dry_run
from resources.core.chunks import hash_text
from resources.core.errors import ConfigurationError, SourceError
from resources.core.keys import encode
from resources.sources import change_stream
from resources.sources.change_stream import read_changes
from resources.sources.resource import SourceResource
from tests.histories import play
from tests.models import build_static_model
from tests.workshop import Run, Workshop

WORDS = ("ship", "iceberg", "captain", "harbour", "storm", "lighthouse", "anchor", "whale")
CHUNKED = {"recursive": {"size": 40, "overlap": 0}}
LONG = "\n\n".join(f"the {word} that was seen in paragraph one" for word in WORDS)


def config(*ids: Any, number: int = 0, **resources: Any) -> dict[str, Any]:
    """Of a run that compares these records alone, handed over as such a number or by nobody."""
    changes: dict[str, Any] = {"ids": [encode(each) for each in ids]}
    if number:
        changes |= {"after": f"row:{number - 1}", "until": f"row:{number}"}
    found = {"source": {"config": {"changes": changes}}}
    return {"resources": {**found, **{key: {"config": it} for key, it in resources.items()}}}


def made(folder: Path, uri: str, model: str) -> Workshop:
    name = f"alone_{secrets.token_hex(4)}"
    shop = Workshop(folder, uri, name, model, name=name)
    origin = {"database": name, "collection": "films", "filter": {"hidden": {"$ne": True}}}
    shop.configure(
        {"source": {"origin": {"collection": origin}}, "vector_store": {"max_delete_fraction": 0.5}}
    )
    return shop


@pytest.fixture
def shop(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    shop = made(tmp_path, mongod_uri, static_model)
    yield shop
    shop.client.drop_database(shop.database)
    shop.client.close()


def films(shop: Workshop) -> pymongo.collection.Collection:
    return shop.client[shop.database]["films"]


def work(shop: Workshop, *ids: Any, only_plan: bool = False, **resources: Any) -> Planned:
    """What the four assets do, without Dagster around; with no ids of the whole source."""
    file = shop.folder / "run.yaml"
    file.write_text(yaml.safe_dump(config(*ids, **resources)), "utf-8")
    with open_pipeline(shop.pipeline, [file], run=secrets.token_hex(4)) as opened:
        o = opened.main
        with o.work():
            planned = plan_work(o)
            if only_plan:
                return planned
            embed(o)
            store(o)
            complete(o, index(o).report.indexed)
            assert all_stored(o).passed, all_stored(o).description
            assert few_in_quarantine(o).description
    return planned


def fill(shop: Workshop, count: int = 8) -> None:
    films(shop).insert_many(
        [{"_id": n, "text": f"{WORDS[n % 8]} {n}", "kind": "film"} for n in range(count)]
    )
    work(shop)


def nothing_to_do(shop: Workshop) -> None:
    found = dry_run(shop.pipeline)
    assert not found.parts, found.counts


def test_what_was_deleted_counts_where_the_index_has_not_followed(shop: Workshop):
    fill(shop)
    films(shop).delete_many({"_id": {"$in": [0, 1, 2]}})
    file = shop.folder / "run.yaml"
    file.write_text(yaml.safe_dump(config(0, 1, 2)), "utf-8")
    with open_pipeline(shop.pipeline, [file], run="stored") as opened:
        o = opened.main
        with o.work():
            plan_work(o)
            embed(o)
            store(o)
    films(shop).delete_many({"_id": {"$in": [3, 4]}})
    with pytest.raises(SourceError, match="5 of 8 stored chunks"):
        work(shop, 3, 4)
    films(shop).insert_one({"_id": 4, "text": "it is back", "kind": "film"})
    work(shop, 3, 4)
    assert set(shop.stored()) == {4, 5, 6, 7}


def test_a_run_of_some_records_says_so(shop: Workshop):
    films(shop).insert_many([{"_id": n, "text": f"{WORDS[n]} {n}"} for n in range(8)])
    assert shop.run().success
    before = shop.stored()
    films(shop).update_one({"_id": 1}, {"$set": {"text": "a whale in the fog"}})
    films(shop).update_one({"_id": 2}, {"$set": {"text": "nobody has named this one"}})
    run = shop.run(config=config(1))
    assert run.success, run.failures
    assert all(run.checks.values()), run.checks
    assert run.source_documents["records compared alone"] == 1
    assert run.source_documents["changed"] == 1
    assert "dagster/row_count" not in run.source_documents
    assert "dagster/row_count" not in run.embedding_batches
    assert run.stored_vectors["dagster/row_count"] == 8
    after = shop.stored()
    assert [n for n in before if before[n] != after[n]] == [1]
    assert [hit.id for hit in shop.search("a whale in the fog", limit=1).hits] == [1]
    with open_pipeline(shop.pipeline) as o:
        entry = o.record.entry(o.record.serving)
        assert entry
        assert (entry.chunks, entry.vectors, entry.missing) == (8, 8, 0)


def test_what_is_gone_or_leaves_the_filter_goes_and_what_enters_it_comes(shop: Workshop):
    fill(shop)
    films(shop).delete_one({"_id": 0})
    films(shop).delete_one({"_id": 7})  # named by nobody: it stays until it is
    films(shop).update_one({"_id": 1}, {"$set": {"hidden": True}})
    films(shop).insert_many(
        [{"_id": n, "text": f"new {n}"} for n in (ObjectId(), "8", 8, 2.5)]
        + [{"_id": "hidden", "text": "not of the source", "hidden": True}]
    )
    ids = [row["_id"] for row in films(shop).find({"text": {"$regex": "^new"}})]
    counts = work(shop, 0, 1, "hidden", "of nothing", *ids).found.counts
    assert (counts.new, counts.deleted, counts.unchanged) == (4, 2, 0)
    assert set(shop.stored()) == {2, 3, 4, 5, 6, 7, *ids}
    films(shop).update_one({"_id": 1}, {"$unset": {"hidden": ""}})
    work(shop, 1, 7)
    assert set(shop.stored()) == {1, 2, 3, 4, 5, 6, *ids}
    nothing_to_do(shop)


def test_chunks_of_a_document_that_shrinks_go_and_a_twin_elsewhere_stays(shop: Workshop):
    shop.configure({"source": {"chunking": CHUNKED}, "vector_store": {"max_delete_fraction": 0.9}})
    films(shop).insert_many([{"_id": n, "text": LONG} for n in (1, "1", 2)])
    work(shop)
    whole = len(shop.stored())
    films(shop).update_one({"_id": 1}, {"$set": {"text": "a ship in port"}})
    counts = work(shop, 1).found.counts
    assert (counts.outdated, counts.deleted, counts.new) == (whole // 3, 0, 1)
    assert len(shop.stored()) == 2 * whole // 3 + 1
    films(shop).delete_one({"_id": "1"})
    work(shop, "1")
    assert {row["source_id"] for row in shop.stored().values()} == {1, 2}
    nothing_to_do(shop)


def test_many_small_steps_delete_no_more_than_one_may(shop: Workshop):
    fill(shop)
    for gone in ((0, 1), (2, 3)):  # half of what there was is allowed
        films(shop).delete_many({"_id": {"$in": gone}})
        work(shop, *gone)
    films(shop).delete_one({"_id": 4})
    said = r"5 of 8 stored chunks .* counted since it was last read to its end"
    with pytest.raises(SourceError, match=said):
        work(shop, 4)
    assert set(shop.stored()) == {4, 5, 6, 7}
    work(shop)  # a whole comparison begins to count anew
    films(shop).delete_one({"_id": 5})
    work(shop, 5)
    assert set(shop.stored()) == {6, 7}


@pytest.mark.parametrize("chunking", [{"none": {}}, CHUNKED])
def test_quarantine_of_those_records_heals_and_of_the_others_stays(
    shop: Workshop, chunking: dict[str, Any]
):
    shop.configure({"source": {"chunking": chunking}})
    fill(shop)
    films(shop).insert_many([{"_id": "bad", "text": 5}, {"_id": "worse", "text": ""}])
    assert work(shop, "bad", "worse").found.rejected == 2
    assert set(shop.quarantine()) == {"bad", "worse"}
    films(shop).update_one({"_id": 3}, {"$set": {"text": "another"}})
    assert work(shop, 3).healed == 0
    assert set(shop.quarantine()) == {"bad", "worse"}
    films(shop).update_one({"_id": "bad"}, {"$set": {"text": "a text"}})
    assert work(shop, "bad").healed == 1
    assert set(shop.quarantine()) == {"worse"}
    films(shop).delete_one({"_id": "worse"})
    assert work(shop, "worse").healed == 1
    nothing_to_do(shop)


def test_the_whole_source_is_compared_where_the_rest_may_not_be_as_it_was(shop: Workshop):
    films(shop).insert_many([{"_id": n, "text": f"text {n}"} for n in range(4)])
    assert work(shop, 1).found.whole  # none has been before
    assert not work(shop, 1).found.whole
    shop.configure({"source": {"chunking": CHUNKED}})
    assert work(shop, 1).found.whole
    films(shop).insert_one({"_id": 4, "text": "text 4"})
    # A run that has made a plan, and no more: its records are compared again with the next one's.
    assert not work(shop, 4, only_plan=True).found.whole
    films(shop).insert_one({"_id": 5, "text": "text 5"})
    planned = work(shop, 5)
    assert planned.plan.ids == [5, 4]
    assert planned.found.counts.new == 2
    work(shop, only_plan=True)
    films(shop).insert_one({"_id": 6, "text": "text 6"})
    assert work(shop, 5).found.whole
    nothing_to_do(shop)


def test_a_space_that_is_built_beside_follows_too(shop: Workshop, tmp_path: Path):
    def run(*ids: Any) -> Run:
        run = shop.run(config=config(*ids))
        assert run.success, run.failures
        return run

    fill(shop)
    other = str(build_static_model(tmp_path / "other", seed=3))
    shop.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    films(shop).update_one({"_id": 2}, {"$set": {"text": "a whale"}})
    first = run(2)
    assert first.source_documents["records compared alone"] == 1
    assert first.candidate_space["vectors written"] == 8  # nobody has compared that before
    films(shop).update_one({"_id": 3}, {"$set": {"text": "an anchor"}})
    films(shop).delete_one({"_id": 4})
    assert run(3, 4).candidate_space["vectors written"] == 1
    assert set(shop.stored()) == {0, 1, 2, 3, 5, 6, 7}
    for row in shop.stored().values():
        texts = {row[name]["text_hash"] for name in row if name.endswith("_lineage")}
        assert len(texts) == 1


@pytest.mark.parametrize("missed", [0, 1, 2])
def test_a_space_that_runs_have_left_out_is_compared_whole(
    shop: Workshop, tmp_path: Path, missed: int
):
    """Such as one whose step did not come to its turn: only the others have heard of a change."""
    number = count(2)

    def run(*assets: str, ids: Sequence[Any]) -> Run:
        run = shop.run(*assets, config=config(*ids, number=next(number)))
        assert run.success, run.failures
        return run

    fill(shop)
    other = str(build_static_model(tmp_path / "other", seed=3))
    shop.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    assert shop.run(config=config(number=1)).success
    for n in range(missed):
        films(shop).update_one({"_id": n}, {"$set": {"text": f"a whale {n}"}})
        run(*ASSETS, ids=[n])
    films(shop).update_one({"_id": 3}, {"$set": {"text": "an anchor"}})
    last = run(ids=[3])
    assert last.source_documents["records compared alone"] == 1
    assert last.candidate_space["vectors written"] == 1 + missed
    assert ("records compared alone" in last.candidate_space) == (not missed)
    for row in shop.stored().values():
        texts = {row[name]["text_hash"] for name in row if name.endswith("_lineage")}
        assert texts == {hash_text(row["text"])}
    # Who repeats a run of before does not set it back.
    assert shop.run(config=config(1, number=1)).success
    films(shop).update_one({"_id": 4}, {"$set": {"text": "a buoy"}})
    following = run(ids=[4])
    assert following.candidate_space["vectors written"] == 1
    assert following.candidate_space["records compared alone"] == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"limit": 3}, "without a `limit`"),
        ({"id_field": "kind"}, "known by their `_id`"),
        ({"changes": {"ids": ["{"]}}, "is no id as JSON"),
        ({"changes": {"ids": ["1"] * 2_001}}, "at most 2000"),
    ],
)
def test_what_cannot_be_compared_alone_is_refused(
    shop: Workshop, source: Mapping[str, Any], says: str
):
    with pytest.raises(ConfigurationError, match=says):
        work(shop, source={"changes": {"ids": ["1"]}, **source})


class Changes(RuleBasedStateMachine):
    """Whatever happens to a collection: runs of what its change stream tells leave no work."""

    shop: Workshop
    ids = st.integers(0, 9)
    texts = st.one_of(
        st.sampled_from([*WORDS, LONG, "a ship", "", 5]),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join),
    )

    def __init__(self) -> None:
        super().__init__()
        self.films = films(self.shop)
        self.source = self.shop.pipeline.resources()["source"]
        assert isinstance(self.source, SourceResource)

    @initialize(documents=st.lists(texts, min_size=1, max_size=6))
    def first(self, documents: list[Any]) -> None:
        self.films.delete_many({})
        for number, text in enumerate(documents):
            self.films.insert_one({"_id": number, "text": text, "kind": "first"})
        self.token = read_changes(self.shop.client, self.source, None, {}).token
        work(self.shop)

    @rule(number=ids, text=texts)
    def put(self, number: int, text: Any) -> None:
        self.films.replace_one({"_id": number}, {"text": text, "kind": "put"}, upsert=True)

    @rule(
        number=ids,
        change=st.sampled_from([{"kind": "new"}, {"hidden": True}, {"hidden": 0}, {"views": 1}]),
    )
    def update(self, number: int, change: Mapping[str, Any]) -> None:
        self.films.update_one({"_id": number}, {"$set": change})

    @rule(number=ids)
    def delete(self, number: int) -> None:
        self.films.delete_one({"_id": number})

    @rule(only_plan=st.sampled_from([False, False, True]))
    def run(self, only_plan: bool) -> None:
        seen = read_changes(self.shop.client, self.source, self.token, {})
        self.token = seen.token
        ids = [json.loads(each) for each in seen.ids.values()] or [99]
        assert not work(self.shop, *ids, only_plan=only_plan).found.whole

    def teardown(self) -> None:
        self.run(only_plan=False)
        nothing_to_do(self.shop)


@pytest.mark.parametrize("chunking", [{"none": {}}, CHUNKED])
def test_any_history_ends_where_a_whole_comparison_finds_nothing(
    tmp_path: Path,
    replica_set_uri: str,
    static_model: str,
    monkeypatch: pytest.MonkeyPatch,
    chunking: dict[str, Any],
):
    monkeypatch.setattr(change_stream, "AWAIT_MS", 50)
    shop = made(tmp_path, replica_set_uri, static_model)
    shop.configure({"source": {"chunking": chunking}, "vector_store": {"allow_delete": True}})
    play(type("History", (Changes,), {"shop": shop}), examples=5, steps=12)
    shop.client.drop_database(shop.database)
    shop.client.close()
