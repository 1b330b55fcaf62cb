"""A pipeline with texts in its index, searched by words and by both, on a deployment with nodes.

Behind the stand-in of `tests/search_node`, and on a real one where TEST_MONGODB_URI names it.
"""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.work.searching.queries import QueryEmbedder
from pipelines.operations.plan import dry_run
from pipelines.operations.search import open_searcher
from resources.core.errors import QueryRefused, SearchIndexError
from tests.search_node import search_node
from tests.workshop import Workshop

THINGS = ("boat", "hat", "stone", "clock", "train")
DOCUMENTS = [
    {"_id": f"{colour}-{thing}", "text": f"a {colour} {thing}", "kind": thing, "year": 1990 + n}
    for n, (colour, thing) in enumerate((c, t) for c in ("red", "green", "blue") for t in THINGS)
]
VERSIONS = [None, "8.2.1", *(["real"] if "TEST_MONGODB_URI" in os.environ else [])]


@pytest.fixture(params=VERSIONS, ids=str)
def workshop(
    request: pytest.FixtureRequest, tmp_path: Path, mongod_uri: str, static_model: str
) -> Iterator[Workshop]:
    with search_node(mongod_uri) as node:
        uri = node.uri
        if request.param == "real":
            uri = os.environ["TEST_MONGODB_URI"]
        else:
            node.version = request.param
        made = Workshop(tmp_path, uri, f"test_{secrets.token_hex(6)}", static_model)
        search_index = {
            "engine": "mongodb",
            "filter_fields": ["kind", "year"],
            "poll_seconds": 0.05,
            "text": {"analyzer": "lucene.english"},
        }
        made.configure({"source": {"carry": ["kind", "year"]}, "search_index": search_index})
        made.write(DOCUMENTS)
        yield made
        made.client.drop_database(made.database)
        made.client.close()


def test_texts_are_searched_by_words_and_by_both(workshop):
    run = workshop.run()
    assert run.success, run.failures
    assert all(run.checks.values())
    with open_searcher(workshop.pipeline) as searcher:
        found = searcher.search("the hats AND a clock:", limit=50, mode="text")
        # English by stop words alone is what the stand-in knows; real ones know stems as well.
        assert {hit.fields["kind"] for hit in found.hits} >= {"clock"}
        assert "$search" in found.stage
        only = searcher.search("green hat", limit=50, mode="text", filter={"year": {"$gt": 1996}})
        assert {hit.id for hit in only.hits} == {
            "green-stone", "green-clock", "green-train", "blue-hat"
        }  # fmt: skip
        both = searcher.search("green hat", limit=4, mode="hybrid", filter={"year": {"$lt": 2000}})
        best = both.hits[0]
        assert (best.id, best.text, best.fields["kind"]) == ("green-hat", "a green hat", "hat")
        assert best.ranks == {"vector": 1, "text": 1}
        assert best.lineage["run"] == run.run_id
        assert best.score == pytest.approx(2 / 61)
        one = searcher.search("blue train", limit=3, mode="hybrid", rank_constant=1)
        assert one.hits[0].id == "blue-train"
        assert one.hits[0].score == pytest.approx(1)
        for text in ("the", "\U0001f600", '"', "a:b AND (", "* ?"):
            assert searcher.search(text, mode="text").hits == []
        nothing = searcher.search("opera", mode="text")
        assert "any of these words" in nothing.why_empty


def test_a_mode_without_its_index_is_refused_before_anything_is_embedded(workshop, monkeypatch):
    workshop.settings["search_index"]["text"] = None
    assert workshop.run().success
    with open_searcher(workshop.pipeline) as searcher:
        monkeypatch.setattr(QueryEmbedder, "embed", lambda *_: pytest.fail("it was embedded"))
        for mode in ("text", "hybrid"):
            with pytest.raises(QueryRefused, match=r"declare `text: \{\}` in search_index"):
                searcher.search("a hat", mode=mode)  # pyright: ignore[reportArgumentType]


def test_texts_that_are_not_stored_are_refused_before_anything_is_spent(workshop):
    workshop.configure({"search_index": {"text": {"fields": ["title"]}}})
    run = workshop.run()
    assert not run.success
    assert "carry it (`source: {carry: [title]}`)" in " ".join(run.failures)
    assert workshop.vectors.count_documents({}) == 0


def test_what_the_deployment_does_not_take_is_refused_by_a_plan_as_by_a_run(workshop):
    workshop.configure(
        {"vector_store": {"dtype": "int8"}, "search_index": {"quantization": "binary"}}
    )
    said = r"`quantization: binary` and vector_store `dtype: int8`.*remove `quantization`"
    with pytest.raises(SearchIndexError, match=said):
        dry_run(workshop.pipeline)
    run = workshop.run()
    assert not run.success
    assert re.search(said, " ".join(run.failures))
    assert workshop.vectors.count_documents({}) == 0


def test_hits_are_answered_from_the_search_nodes_copy(workshop):
    kept = ["text", "source_id", "chunk", "kind", "year", "embedding_lineage"]
    lacking = {"return_stored_source": True, "stored_source_include": kept[:3]}
    workshop.configure({"search_index": lacking})
    run = workshop.run()
    assert "lacks kind, year, embedding_lineage, which every hit" in " ".join(run.failures)
    workshop.configure({"search_index": {"stored_source_include": kept}})
    run = workshop.run()
    assert run.success, run.failures
    with open_searcher(workshop.pipeline) as searcher:
        for mode in ("vector", "text", "hybrid"):
            found = searcher.search("green hat", limit=1, mode=mode)
            (hit,) = found.hits
            assert (hit.id, hit.text, hit.fields) == (
                "green-hat", "a green hat", {"kind": "hat", "year": 1996}
            )  # fmt: skip
            assert hit.lineage["run"] == run.run_id
