"""A text is embedded once for all pipelines of a deployment that share a space."""

import pytest
from pymongo import MongoClient, monitoring

from tests.workshop import Workshop

pytestmark = pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)


@pytest.fixture
def books(workshop: Workshop, tmp_path, static_model: str) -> Workshop:
    """Another pipeline with a collection, a path and a batch store of its own."""
    folder = tmp_path / "books"
    folder.mkdir()
    made = Workshop(folder, workshop.uri, workshop.database, static_model, name="books")
    made.configure({"vector_store": {"collection": "books", "path": "vectors.text"}})
    yield made
    made.client.close()


def films(workshop: Workshop) -> None:
    workshop.write([{"_id": n, "text": f"text {n}"} for n in range(100)])
    assert workshop.run().success


def test_texts_of_another_pipeline_are_not_embedded_again(workshop, books):
    films(workshop)
    books.write([{"_id": f"b{n}", "text": f"text {n}"} for n in range(50, 110)])
    run = books.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 10
    assert run.embedding_batches["vectors copied"] == 50
    theirs = workshop.stored()[70]
    copied = books.client[books.database]["books"].find_one({"_id": "b70"})
    assert copied["vectors"]["text"] == theirs["embedding"]
    lineage, original = copied["vectors_lineage"]["text"], theirs["embedding_lineage"]
    for name in ("model", "batch", "run", "at", "text_hash"):
        assert lineage[name] == original[name], "it says who embedded it"
    assert lineage["pipeline"] == "books"


def test_coarser_vectors_are_no_source_for_others(workshop, books):
    workshop.configure({"vector_store": {"dtype": "int8"}})
    films(workshop)
    books.write([{"_id": 1, "text": "text 1"}])
    assert books.run().embedding_batches["embedded"] == 1


def test_a_finer_field_beside_them_is_one(workshop, books):
    workshop.configure({"vector_store": {"dtype": "int8", "rescore": "float32"}})
    films(workshop)
    books.write([{"_id": 1, "text": "text 1"}])
    assert books.run().embedding_batches["vectors copied"] == 1


class Commands(monitoring.CommandListener):
    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def test_a_run_without_changes_sends_a_command_per_window_not_per_document(workshop, monkeypatch):
    """LangChain's `index()` sends four commands a document when nothing changed."""
    workshop.configure({"embedder": {"max_batch_chunks": 5_000}})
    listener = Commands()
    original = MongoClient.__init__

    def listening(self, *arguments, **options):
        original(self, *arguments, **options, event_listeners=[listener])

    monkeypatch.setattr(MongoClient, "__init__", listening)
    counts = []
    for size in (1_000, 9_000):
        workshop.write([{"_id": n, "text": f"text {n}"} for n in range(size)])
        assert workshop.run().success
        listener.names.clear()
        again = workshop.run()
        assert again.source_documents["unchanged"] == size
        writes = [name for name in listener.names if name in ("insert", "update", "delete")]
        counts.append(len(listener.names))
        assert len(writes) <= 20, "the lease, the registry"
    small, large = counts
    # 8,000 more documents are four more windows: a look-up and its cursor each.
    assert large - small <= 20
