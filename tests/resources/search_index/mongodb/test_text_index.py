"""The life of the search index over the texts, beside the vector index.

Against the stand-in of `tests/search_node`: what it cannot prove is written there.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from resources.core.errors import ConfigurationError, LeaseError, SearchIndexError
from resources.core.lane import Lane
from resources.mongodb.lease import Lease, held
from resources.search_index.engine import Coverage
from resources.search_index.resource import SearchIndexResource
from tests.resources.search_index.mongodb.bench import COUNT, SPACE

TEXT: dict[str, Any] = {"text": {}}
DEFINITION = {
    "mappings": {
        "dynamic": False,
        "fields": {
            "text": [{"type": "string", "analyzer": "lucene.standard"}],
            "kind": [{"type": name} for name in ("token", "boolean", "date", "objectId", "uuid")],
            "_id": [{"type": name} for name in ("token", "number", "date", "objectId", "uuid")],
            "embedding_lineage": [
                {
                    "type": "document",
                    "dynamic": False,
                    "fields": {"space": [{"type": "token"}]},
                }
            ],
        },
    }
}


def made(bench) -> list[tuple[str, str]]:
    return [
        (each["name"], each["type"])
        for body in bench.sent("createSearchIndexes")
        for each in body["indexes"]
    ]


def names(bench) -> set[str]:
    return {entry["name"] for entry in bench.store.collection.list_search_indexes()}


def test_both_are_created_and_waited_for(bench):
    bench.node.build_polls = 3
    report = bench.engine(**TEXT).reconcile(bench.lines.append)
    assert (report.changed, report.stored, report.indexed) == (True, COUNT, COUNT)
    assert made(bench) == [("vector_index", "vectorSearch"), ("vector_index_text", "search")]
    assert bench.sent("createSearchIndexes")[1]["indexes"][0]["definition"] == DEFINITION
    assert any("vector_index_text: BUILDING" in line for line in bench.lines)
    # Declared before the other is waited for: the two are built at once.
    lines = "\n".join(bench.lines)
    assert lines.index("creating index vector_index_text") < lines.index(
        "index vector_index: BUILDING"
    )
    entry = bench.registry.indexes.get(bench.store.key.index("vector_index"))
    assert entry.text_definition == DEFINITION
    again = bench.engine(**TEXT).reconcile(bench.lines.append)
    assert not again.changed
    assert len(made(bench)) == 2
    assert bench.sent("updateSearchIndex") == []


def test_a_dotted_field_that_is_also_a_document(bench):
    bench.store.carried = ("a", "n")
    bench.engine(text={"fields": ["a", "n.x"]}, filter_fields=["a.b", "a"]).reconcile(print)
    definition = bench.sent("createSearchIndexes")[1]["indexes"][0]["definition"]
    fields = definition["mappings"]["fields"]
    assert [kind["type"] for kind in fields["a"]] == [
        "string", "token", "boolean", "date", "objectId", "uuid", "document"
    ]  # fmt: skip
    assert fields["n"][0]["fields"]["x"][0]["type"] == "string"
    assert (
        not bench.engine(text={"fields": ["a", "n.x"]}, filter_fields=["a.b", "a"])
        .reconcile(print)
        .changed
    )


def test_a_changed_declaration_is_waited_for_by_its_version(bench):
    bench.engine(**TEXT).reconcile(bench.lines.append)
    bench.node.build_polls = 4
    report = bench.engine(text={"analyzer": "lucene.english"}).reconcile(bench.lines.append)
    assert report.changed
    (update,) = bench.sent("updateSearchIndex")
    assert update["name"] == "vector_index_text"
    assert any(
        "text is string by lucene.standard, not string by lucene.english" in line
        for line in bench.lines
    )
    entry = bench.registry.indexes.get(bench.store.key.index("vector_index"))
    assert "lucene.english" in str(entry.text_definition)
    filters = bench.engine(text={"analyzer": "lucene.english"}, filter_fields=[])
    assert filters.reconcile(bench.lines.append).changed
    assert [body["name"] for body in bench.sent("updateSearchIndex")] == [
        "vector_index_text", "vector_index", "vector_index_text"
    ]  # fmt: skip


def test_an_analyzer_that_the_server_does_not_know(bench):
    with pytest.raises(SearchIndexError, match=r"vector_index_text.*lucene.klingon"):
        bench.engine(text={"analyzer": "lucene.klingon"}).reconcile(bench.lines.append)


def test_a_failed_build_says_why_and_is_mended_by_the_next_run(bench):
    bench.engine().reconcile(bench.lines.append)
    bench.node.statuses, bench.node.failure = ["BUILDING", "FAILED"], "out of disk"
    with pytest.raises(SearchIndexError, match=r"vector_index_text .*FAILED: out of disk"):
        bench.engine(**TEXT).reconcile(bench.lines.append)
    assert bench.engine(**TEXT).reconcile(bench.lines.append).changed


def test_no_longer_declared_it_is_dropped_once(bench):
    bench.engine(**TEXT).reconcile(bench.lines.append)
    bench.node.delete_polls = 2
    assert bench.engine().reconcile(bench.lines.append).changed
    assert [body["name"] for body in bench.sent("dropSearchIndex")] == ["vector_index_text"]
    assert any("dropping index vector_index_text" in line for line in bench.lines)
    assert bench.registry.indexes.get(bench.store.key.index("vector_index")).text_definition is None
    # Declared again while the old one is still going, it is made anew.
    assert bench.engine(**TEXT).reconcile(bench.lines.append).changed
    assert len(made(bench)) == 3
    bench.engine().reconcile(bench.lines.append)
    bench.engine().reconcile(bench.lines.append)
    assert len(bench.sent("dropSearchIndex")) == 2
    for _ in range(bench.node.delete_polls):
        names(bench)
    assert names(bench) == {"vector_index"}


def by_hand(bench, definition: dict[str, Any], kind: str = "search") -> None:
    bench.client[bench.database].command(
        "createSearchIndexes",
        "vectors",
        indexes=[{"name": "vector_index_text", "type": kind, "definition": definition}],
    )


def test_somebody_elses_is_neither_changed_nor_dropped(bench):
    by_hand(bench, {"mappings": {"dynamic": True}})
    with pytest.raises(SearchIndexError, match=r"no pipeline has made.*choose another `name`"):
        bench.engine(**TEXT).reconcile(bench.lines.append)
    bench.engine().reconcile(bench.lines.append)
    assert bench.sent("updateSearchIndex") == bench.sent("dropSearchIndex") == []
    assert names(bench) == {"vector_index", "vector_index_text"}


def test_somebody_elses_that_is_just_like_ours_serves_and_stays(bench):
    by_hand(bench, DEFINITION)
    bench.engine(**TEXT).reconcile(bench.lines.append)
    bench.engine().reconcile(bench.lines.append)
    assert bench.sent("dropSearchIndex") == []


def test_a_vector_index_of_that_name_is_not_touched(bench):
    field = {"type": "vector", "path": "x", "numDimensions": 8, "similarity": "cosine"}
    by_hand(bench, {"fields": [field]}, "vectorSearch")
    with pytest.raises(SearchIndexError, match="of type vectorSearch, not search"):
        bench.engine(**TEXT).reconcile(bench.lines.append)


def test_a_neighbour_that_declares_none_leaves_it_alone(bench):
    bench.engine(**TEXT).reconcile(bench.lines.append)
    bench.store.pipeline = "neighbour"
    bench.engine().reconcile(bench.lines.append)
    assert bench.sent("dropSearchIndex") == []


def test_no_room_for_the_second_names_those_there_are(bench):
    bench.node.max_indexes = 1
    with pytest.raises(
        SearchIndexError, match=r"no further search index.*vectors:vector_index:?.*index drop"
    ):
        bench.engine(**TEXT).reconcile(bench.lines.append)
    bench.node.max_indexes = 2
    assert bench.engine(**TEXT).reconcile(bench.lines.append).changed


def test_documents_on_their_way_to_either_index_count(bench):
    engine = bench.engine(**TEXT)
    engine.reconcile(bench.lines.append)
    assert engine.coverage() == Coverage(COUNT, COUNT, "")
    bench.node.lag = 2
    found = engine.coverage()
    assert (found.stored, found.indexed) == (COUNT, COUNT - 2)
    assert "the index vector_index, which" in found.why
    assert "the index vector_index_text, which" in found.why
    glance = engine.glance(COUNT)
    assert glance.indexed == COUNT - 2
    assert "the index vector_index_text yet" in glance.why
    bench.store.collection.drop_search_index("vector_index_text")
    bench.store.collection.list_search_indexes().to_list()
    with pytest.raises(SearchIndexError, match="no index vector_index_text"):
        engine.coverage()
    with pytest.raises(SearchIndexError, match="no index vector_index_text"):
        engine.glance(COUNT)


def test_who_has_lost_the_lease_neither_makes_nor_drops_it(bench):
    lane = Lane("films", SPACE.id)
    with held(bench.client, bench.database, lane, "run", seconds=30, wait_seconds=0) as lease:
        bench.engine(**TEXT).reconcile(bench.lines.append, lease)
        for settings in ({}, {"name": "other", **TEXT}):
            lease.check = stolen(lease)
            with pytest.raises(LeaseError):
                bench.engine(**settings).reconcile(bench.lines.append, lease)
    assert "vector_index_text" in names(bench)
    assert bench.sent("dropSearchIndex") == []
    assert ("other", "vectorSearch") in made(bench)
    assert ("other_text", "search") not in made(bench)


def stolen(lease: Lease) -> Callable[[], None]:
    """The lease is lost after the vector index was declared."""
    asked = itertools.count()

    def check() -> None:
        if next(asked):
            raise lease.stale()

    return check


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["embedding"], "where the vectors or their lineage are"),
        (["embedding_lineage.space"], "where the vectors or their lineage are"),
        ([""], "is no field name"),
        (["a..b"], "is no field name"),
        (["$where"], "holds an operator"),
        (["title", "plot", "title"], "'title' twice among its `text.fields`"),
    ],
)
def test_text_fields_that_cannot_be_are_refused(fields, message):
    declared = SearchIndexResource(text={"fields": fields})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match=message):
        declared.check_declared(None, "embedding")
