"""Long documents cut into chunks, through a whole run."""

import pytest

from tests.workshop import Workshop

TEXT = "\n\n".join(
    f"Paragraph {n} tells of matter {n}: " + f"word{n} " * (8 + n % 5) for n in range(40)
)


def chunked(size: int = 200) -> dict:
    return {"chunking": {"recursive": {"size": size, "overlap": 0}}}


@pytest.fixture
def article(workshop: Workshop) -> Workshop:
    workshop.configure({"source": chunked()})
    workshop.write([{"_id": "a", "text": TEXT, "kind": "essay"}, {"_id": "b", "text": "short"}])
    return workshop


def test_each_chunk_is_stored_with_its_place_and_its_chunker(article):
    run = article.run()
    assert run.success, run.failures
    stored = article.stored()
    assert len(stored) > 20
    assert run.source_documents["source documents"] == 2
    for document in stored.values():
        place = document["chunk"]
        whole = TEXT if document["source_id"] == "a" else "short"
        assert whole[place["start"] : place["end"]] == document["text"]
        assert document["embedding_lineage"]["chunker"] == "recursive(size=200, overlap=0)"
    assert {document.get("kind") for document in stored.values()} == {"essay", None}
    wanted = next(document for document in stored.values() if "word17" in document["text"])
    (hit,) = article.search(wanted["text"], limit=1).hits
    assert hit.id == wanted["_id"]
    again = article.run()
    assert again.source_documents["unchanged"] == len(stored)
    assert again.stored_vectors["vectors written"] == 0


def test_an_insertion_at_the_top_embeds_only_what_is_new(article):
    article.run()
    before = article.stored()
    new = "A new beginning, which stands before everything else that there was. " * 3
    article.write([{"_id": "a", "text": f"{new}\n\n{TEXT}", "kind": "essay"},
                   {"_id": "b", "text": "short"}])  # fmt: skip
    run = article.run()
    assert run.success, run.failures
    after = article.stored()
    assert 0 < run.embedding_batches["embedded"] <= 3
    assert set(before) <= set(after), "nothing below was cut anew"
    moved = [key for key in before if after[key]["chunk"]["start"] != before[key]["chunk"]["start"]]
    assert len(moved) == len(before) - 1, "what only moved knows its new place"
    assert all(after[key]["embedding"] == before[key]["embedding"] for key in before)


def test_a_changed_chunk_replaces_its_predecessor_without_asking(article):
    """Most chunks of the collection are outdated, yet no document vanished."""
    article.run()
    article.write([{"_id": "a", "text": "all of it is new now"}, {"_id": "b", "text": "short"}])
    run = article.run()
    assert run.success, run.failures
    assert run.source_documents["outdated"] > 20
    assert run.source_documents["deleted"] == 0
    assert sorted(d["text"] for d in article.stored().values()) == ["all of it is new now", "short"]


def test_a_document_that_vanished_still_needs_leave(article):
    article.run()
    before = len(article.stored())
    article.write([{"_id": "b", "text": "short"}])
    run = article.run()
    assert "are not in the source any more" in run.failures[0]
    assert len(article.stored()) == before
    article.configure({"vector_store": {"allow_delete": True}})
    assert article.run().success
    assert len(article.stored()) == 1


def test_a_changed_chunker_is_planned_work(article):
    article.run()
    texts = {document["text"] for document in article.stored().values()}
    article.configure({"source": chunked(300)})
    run = article.run()
    assert run.success, run.failures
    assert run.source_documents["outdated"] > 0
    stored = article.stored()
    assert {document["text"] for document in stored.values()} != texts
    chunkers = {document["embedding_lineage"]["chunker"] for document in stored.values()}
    assert chunkers == {"recursive(size=300, overlap=0)"}
    # What came out the same was not embedded again: the short document at least.
    assert run.source_documents["cut the same by another chunker"] >= 1
    # And back to whole documents.
    article.configure({"source": {"chunking": {"none": {}}}})
    article.settings["source"]["chunking"] = {"none": {}}
    run = article.run()
    assert run.success, run.failures
    assert set(article.stored()) == {"a", "b"}
    assert "chunker" not in article.stored()["a"]["embedding_lineage"]


def test_chunks_cannot_be_stored_in_place(article):
    article.configure({"vector_store": {"in_place": True, "database": None, "collection": None}})
    article.client[article.database]["films"].insert_one({"_id": 1, "text": "x"})
    article.configure(
        {"source": {"origin": {"collection": {"database": article.database, "collection": "films"}},
                    "carry": []}}
    )  # fmt: skip
    assert "a document holds one vector" in article.run().failures[0]
