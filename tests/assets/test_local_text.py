"""A pipeline whose local index is asked by words too."""

import pytest

from pipelines.framework.catalog import open_pipeline
from resources.core.errors import QueryRefused
from resources.search_index.query import Query
from tests.workshop import Workshop


def found(workshop: Workshop, text: str, **query) -> list:
    with open_pipeline(workshop.pipeline) as opened:
        served = opened.engine.serve()
        return [hit.id for hit in served.matching(text, Query(10, mode="text", **query))]


def test_words_follow_a_pipeline(workshop: Workshop) -> None:
    documents = [
        {"_id": f"d{number}", "text": f"film number {number}", "kind": "ab"[number % 2]}
        for number in range(20)
    ]
    workshop.configure({"search_index": {"engine": "local"}})
    workshop.write(documents)
    assert workshop.run().success
    with pytest.raises(QueryRefused, match=r"`text: \{\}` to search_index and materialize"):
        found(workshop, "film")
    workshop.configure({"search_index": {"text": {}}})
    run = workshop.run("search_index")
    assert run.success, run.failures
    assert all(run.checks.values())
    assert (run.search_index["texts"], run.search_index["vectors read"]) == (20, 0)
    assert found(workshop, "7 of 11") == ["d11", "d7"]
    assert found(workshop, "7 of 12", filter={"kind": "a"}) == ["d12"]
    by_words = workshop.search("7 of 11", mode="text", limit=3)
    assert [hit.id for hit in by_words.hits] == ["d11", "d7"]
    assert by_words.stage["local engine"]["text"]["terms"]["11"]["documents"] == 1
    both = workshop.search("film number 7", mode="hybrid", limit=3)
    assert (both.hits[0].id, both.hits[0].ranks) == ("d7", {"vector": 1, "text": 1})
    nothing = workshop.search("unheard", mode="text")
    assert "none of the 20 indexed texts" in nothing.why_empty
    documents[7]["text"] = "quite another"
    workshop.write(documents[1:])
    run = workshop.run()
    assert run.success, run.failures
    assert run.search_index["texts"] == 19
    assert found(workshop, "another 0") == ["d7"]
    assert found(workshop, "7") == []
    workshop.configure({"search_index": {"text": {"tokenizer": "trigram", "fields": ["kind"]}}})
    assert workshop.run("search_index").success
    assert found(workshop, "another") == []
    assert len(found(workshop, "b")) == 10


def test_words_in_place(workshop: Workshop) -> None:
    """The text is where the source has it, in a document that is somebody else's."""
    films = workshop.client[workshop.database]["films"]
    films.insert_many(
        [{"_id": number, "title": f"title {number}", "plot": "a plot"} for number in range(8)]
    )
    workshop.configure(
        {
            "source": {
                "origin": {"collection": {"database": workshop.database, "collection": "films"}},
                "text": "{title}: {plot}",
                "carry": [],
            },
            "vector_store": {"in_place": True, "collection": ""},
            "search_index": {"engine": "local", "text": {}, "filter_fields": []},
        }
    )
    run = workshop.run()
    assert run.success, run.failures
    assert set(found(workshop, "plot")) == set(range(8))
    films.update_one({"_id": 3}, {"$set": {"plot": "no story"}})
    run = workshop.run()
    assert run.success, run.failures
    assert found(workshop, "story") == [3]
