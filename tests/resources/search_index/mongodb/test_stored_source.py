"""Answers from the search nodes' own copy, where that has all that a hit brings along."""

from typing import Any

import pytest
from pymongo.errors import OperationFailure

from resources.core.errors import ConfigurationError
from resources.search_index.declaration import not_stored
from resources.search_index.query import Query
from resources.search_index.resource import SearchIndexResource
from tests.resources.search_index.mongodb.bench import vector

LINEAGE = "embedding_lineage"
COPY: dict[str, Any] = {"return_stored_source": True, "text": {}}
KEPT = [
    {"stored_source_include": ["text", "kind", LINEAGE]},
    {"stored_source_exclude": ["notes", "other.part"]},
]


def from_copy(bench) -> list[bool]:
    """Of each search, whether it was answered from the copy."""
    stages = (
        (body.get("pipeline") or [{}])[0]
        for body in bench.node.commands
        if body.get("aggregate") == "vectors"
    )
    return [
        bool(next(iter(stage.values())).get("returnStoredSource"))
        for stage in stages
        if "$search" in stage or "$vectorSearch" in stage
    ]


@pytest.mark.parametrize("kept", KEPT, ids=["include", "exclude"])
def test_fields_and_lineage_come_from_the_copy(bench, kept):
    bench.store.collection.update_many({}, {"$set": {"notes": "long", "rare": {"a": 1}}})
    bench.engine(**COPY, **kept).reconcile(bench.lines.append)
    served = bench.engine(**COPY, **kept).serve()
    bench.node.commands.clear()
    fields = ["text", "kind", LINEAGE]
    near = served.nearest(vector(3), Query(2), fields)
    worded = served.matching("3", Query(2, {"kind": "odd"}), fields)
    assert from_copy(bench) == [True, True]
    for hit in (near[0], worded[0]):
        assert hit.id == 3
        assert (hit.document["text"], hit.document["kind"]) == ("text 3", "odd")
        assert hit.document[LINEAGE]["run"] == "run"
        assert hit.document[LINEAGE]["batch"] == "batch"
    assert served.nearest(vector(3), Query(2))[0].document is None
    assert from_copy(bench) == [True, True, True]
    # What is not kept is looked up, whatever is declared.
    for name, value in (("notes", "long"), ("rare", {"a": 1})):
        if name == "rare" and "stored_source_exclude" in kept:
            continue
        assert served.nearest(vector(3), Query(2), [name])[0].document[name] == value
        assert served.matching("3", Query(2), [name])[0].document[name] == value
        assert from_copy(bench)[-2:] == [False, False]


def test_both_indexes_keep_it_and_neither_keeps_the_vectors(bench):
    settings: dict[str, Any] = {**COPY, **KEPT[1]}
    bench.engine(**settings).reconcile(bench.lines.append)
    sources = [
        body["indexes"][0]["definition"]["storedSource"]
        for body in bench.sent("createSearchIndexes")
    ]
    assert sources == [{"exclude": ["notes", "other.part", "embedding"]}] * 2
    assert not bench.engine(**settings).reconcile(bench.lines.append).changed
    changed = {**settings, "stored_source_exclude": ["notes"]}
    bench.engine(**changed).reconcile(bench.lines.append)
    assert [body["name"] for body in bench.sent("updateSearchIndex")] == [
        "vector_index", "vector_index_text"
    ]  # fmt: skip


def test_a_layout_keeps_its_own_places(bench):
    bench.store = bench.open(layout="llamaindex")
    settings: dict[str, Any] = {**COPY, "stored_source_include": ["text", "kind", LINEAGE]}
    bench.engine(**settings).reconcile(bench.lines.append)
    for body in bench.sent("createSearchIndexes"):
        source = body["indexes"][0]["definition"]["storedSource"]
        assert source == {"include": ["text", "metadata.kind", LINEAGE]}


def test_never_within_a_fusion(bench):
    bench.node.version = "8.2.0"
    settings: dict[str, Any] = {**COPY, **KEPT[0]}
    bench.engine(**settings).reconcile(bench.lines.append)
    (hit,) = bench.engine(**settings).serve().fused("3", vector(3), Query(1), ["text"])
    assert hit.document == {"_id": 3, "text": "text 3"}
    assert "returnStoredSource" not in str(bench.node.commands[-1])


def test_without_the_setting_documents_are_looked_up(bench):
    settings: dict[str, Any] = {"text": {}, **KEPT[0]}
    bench.engine(**settings).reconcile(bench.lines.append)
    served = bench.engine(**settings).serve()
    served.nearest(vector(3), Query(1), ["text"])
    served.matching("3", Query(1), ["text"])
    assert from_copy(bench) == [False, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"return_stored_source": True}, "nothing is stored: name the fields"),
        ({"stored_source_include": ["embedding"]}, "'embedding' among its `stored_source_include`"),
        ({"stored_source_include": ["a"], "stored_source_exclude": ["b"]}, "remove one of them"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        SearchIndexResource(**settings).check_declared(None, "embedding")


@pytest.mark.parametrize(
    ("settings", "lacking"),
    [
        ({"stored_source_include": ["text", LINEAGE, "kind"]}, None),
        ({"stored_source_include": ["text", f"{LINEAGE}.run", "kind"]}, LINEAGE),
        ({"stored_source_include": ["text"]}, f"{LINEAGE}, kind, which"),
        ({"stored_source_exclude": ["notes"]}, None),
        ({"stored_source_exclude": [f"{LINEAGE}.space"]}, LINEAGE),
        ({"stored_source_exclude": ["text"]}, "text, which .*take them out of"),
    ],
)
def test_a_copy_that_lacks_what_a_hit_brings_is_refused(settings, lacking):
    declared = SearchIndexResource(return_stored_source=True, filter_fields=["kind"], **settings)
    declared.check_declared(None, "embedding")
    if lacking is None:
        declared.check_stored_source(["text", LINEAGE])
        return
    with pytest.raises(ConfigurationError, match=lacking):
        declared.check_stored_source(["text", LINEAGE])
    SearchIndexResource(filter_fields=["kind"], **settings).check_stored_source(["text", LINEAGE])


def test_what_of_a_path_is_kept():
    include, exclude = {"include": ["a", "b.c"]}, {"exclude": ["a", "b.c"]}
    paths = ["_id", "a", "a.x", "b", "b.c", "b.c.d", "b.d", "ab"]
    assert not_stored(include, paths) == ["b", "b.d", "ab"]
    assert not_stored(exclude, paths) == ["a", "a.x", "b", "b.c", "b.c.d"]
    assert not_stored({}, ["_id", "a"]) == ["a"]


def test_the_stand_in_refuses_what_the_server_does(bench):
    bench.engine(text={}).reconcile(bench.lines.append)
    search = {"index": "vector_index_text", "text": {"query": "3", "path": "text"}}
    with pytest.raises(OperationFailure, match="needs a storedSource"):
        list(
            bench.store.collection.aggregate([{"$search": {**search, "returnStoredSource": True}}])
        )
    field = {"type": "vector", "path": "v", "numDimensions": 8, "similarity": "cosine"}
    for source in ({"include": ["v"]}, {"exclude": ["a"]}):
        with pytest.raises(OperationFailure, match="must not hold fields of type vector"):
            bench.client[bench.database].command(
                "createSearchIndexes",
                "vectors",
                indexes=[
                    {
                        "name": "x",
                        "type": "vectorSearch",
                        "definition": {"fields": [field], "storedSource": source},
                    }
                ],
            )
