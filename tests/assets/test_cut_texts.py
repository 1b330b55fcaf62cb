"""Texts that are cut, and then shall not be any more: whole runs with `truncate` on and off."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import assets.work.storing
from pipelines.operations.audit import audit
from resources.batch_store.store import BatchStore
from resources.vector_store.writer import VectorWriter
from tests.models import build_short_sighted_model
from tests.workshop import Run, Workshop

pytestmark = pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)

READS = 16
"""Tokens, two of them marks."""


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


LONG, OTHER = words(40), words(30, "sea")
TEXTS = {1: "short", 2: LONG, 3: words(READS - 2), 4: words(READS - 1)}
CUT = {2, 4}


def use(workshop: Workshop, *, truncate: bool) -> None:
    provider = {"model": workshop.model, "truncate": truncate, "device": "cpu"}
    workshop.configure({"embedder": {"provider": {"sentence_transformers": provider}}})


def write(workshop: Workshop, texts: dict[Any, str]) -> None:
    workshop.write([{"_id": name, "text": text} for name, text in texts.items()])


def run(workshop: Workshop, *, truncate: bool) -> Run:
    use(workshop, truncate=truncate)
    done = workshop.run()
    assert done.success, done.failures
    done.checks.pop("few_in_quarantine")
    assert all(done.checks.values()), done.checks
    # Of a text that is in quarantine a run has no more to do.
    assert audit(workshop.pipeline).findings == []
    return done


def embedded(done: Run) -> int:
    return done.embedding_batches["embedded"]


def cut(workshop: Workshop) -> set[Any]:
    return {
        name
        for name, document in workshop.stored().items()
        if "cut" in document["embedding_lineage"]
    }


def stored(workshop: Workshop) -> set[Any]:
    return set(workshop.stored())


@pytest.fixture(scope="session")
def short_sighted(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_short_sighted_model(tmp_path_factory.mktemp("models"), READS))


@pytest.fixture
def workshop(workshop: Workshop, short_sighted: str) -> Workshop:
    workshop.model = short_sighted
    return workshop


@pytest.fixture
def cutting(workshop: Workshop) -> Workshop:
    """After a run that has cut two of four texts."""
    write(workshop, TEXTS)
    done = run(workshop, truncate=True)
    assert (embedded(done), stored(workshop), cut(workshop)) == (4, set(TEXTS), CUT)
    assert done.embedding_batches["longer than the model reads"] == 2
    return workshop


@pytest.fixture
def books(workshop: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """Another pipeline with a collection of its own and the same batch store."""
    folder = tmp_path / "books"
    folder.mkdir()
    made = Workshop(folder, workshop.uri, workshop.database, workshop.model, name="books")
    made.configure(
        {
            "vector_store": {"collection": "books"},
            "batch_store": {"url": workshop.settings["batch_store"]["url"]},
        }
    )
    yield made
    made.client.close()


def of_books(books: Workshop) -> dict[Any, dict[str, Any]]:
    return {row["_id"]: row for row in books.client[books.database]["books"].find()}


def test_cut_vectors_go_when_nothing_may_be_cut_and_come_back(cutting):
    before = cutting.stored()
    unchanged = run(cutting, truncate=True)
    assert unchanged.source_documents["unchanged"] == 4

    off = run(cutting, truncate=False)
    assert off.source_documents["of a text that was cut"] == 2
    assert off.source_documents["to embed"] == 2
    assert (embedded(off), off.stored_vectors["vectors written"]) == (0, 0)
    assert (off.embedding_batches["refused by the provider"], stored(cutting)) == (2, {1, 3})
    quarantine = cutting.quarantine()
    assert set(quarantine) == {"2", "4"}
    assert "has 42 tokens, the model reads 16" in quarantine["2"]
    again = run(cutting, truncate=False)
    assert (again.source_documents["refused before"], again.source_documents["to embed"]) == (2, 0)
    assert cutting.stored() == {name: before[name] for name in (1, 3)}, (
        "what was whole is as it was"
    )

    on = run(cutting, truncate=True)
    assert embedded(on) == 0, "the vectors of the beginnings still lie in their batch"
    assert (stored(cutting), cut(cutting), cutting.quarantine()) == (set(TEXTS), CUT, {})
    for name, document in cutting.stored().items():
        assert document["embedding"] == before[name]["embedding"]


def test_texts_that_were_refused_are_asked_for_when_they_may_be_cut(workshop):
    write(workshop, TEXTS)
    assert embedded(run(workshop, truncate=False)) == 2
    done = run(workshop, truncate=True)
    assert (embedded(done), cut(workshop), workshop.quarantine()) == (2, CUT, {})
    done = run(workshop, truncate=False)
    assert (embedded(done), stored(workshop)) == (0, {1, 3})


def test_all_chunks_of_one_text_go_with_it(workshop):
    write(workshop, dict.fromkeys(range(5), LONG) | {5: "short"})
    assert embedded(run(workshop, truncate=True)) == 2
    done = run(workshop, truncate=False)
    assert done.source_documents["of a text that was cut"] == 5
    assert done.embedding_batches["refused by the provider"] == 1
    assert stored(workshop) == {5}
    assert len(workshop.quarantine()) == 5


def test_a_new_chunk_takes_no_vector_of_a_text_that_was_cut(cutting):
    write(cutting, TEXTS | {5: LONG, 6: "short", 7: words(READS - 2)})
    done = run(cutting, truncate=False)
    assert (embedded(done), stored(cutting)) == (0, {1, 3, 6, 7})
    assert set(cutting.quarantine()) == {"2", "4", "5"}


@pytest.mark.parametrize("files", [True, False], ids=["from batches", "from the store"])
def test_another_pipeline_takes_what_its_own_settings_allow(cutting, books, files):
    if not files:
        books.configure({"batch_store": {"url": str(books.folder / "batch_store")}})
    write(books, {"b1": LONG, "b2": "short"})
    done = run(books, truncate=False)
    assert (embedded(done), set(of_books(books)), set(books.quarantine())) == (0, {"b2"}, {"b1"})
    # The first one's batches and vectors are as they were.
    assert run(cutting, truncate=True).source_documents["unchanged"] == 4
    assert cut(cutting) == CUT
    done = run(books, truncate=True)
    assert embedded(done) == 0
    assert of_books(books)["b1"]["embedding_lineage"]["cut"] is True
    write(books, {"b1": "another", "b2": "short"})
    run(books, truncate=False)
    assert "cut" not in of_books(books)["b1"]["embedding_lineage"]


def test_the_same_texts_in_the_same_order_are_the_same_batch(workshop, books):
    """Its name is of its content: what was cut and what is refused meet in one file."""
    write(workshop, {1: LONG, 2: OTHER})
    write(books, {1: LONG, 2: OTHER})
    assert embedded(run(workshop, truncate=True)) == 2
    done = run(books, truncate=False)
    assert (embedded(done), of_books(books), len(books.quarantine())) == (0, {}, 2)
    workshop.vectors.drop()
    assert embedded(run(workshop, truncate=True)) == 0, "still in the file"
    assert cut(workshop) == {1, 2}


def test_what_is_edited_meanwhile_is_embedded_and_nothing_else(cutting):
    write(cutting, TEXTS | {2: "an edited text", 3: OTHER})
    done = run(cutting, truncate=False)
    assert (embedded(done), stored(cutting)) == (1, {1, 2})
    assert set(cutting.quarantine()) == {"3", "4"}
    assert cut(cutting) == set()
    write(cutting, TEXTS)
    done = run(cutting, truncate=True)
    assert (embedded(done), cut(cutting)) == (0, CUT)


def test_only_fields_changed_keeps_the_mark(cutting):
    cutting.write([{"_id": n, "text": text, "kind": "k"} for n, text in TEXTS.items()])
    done = run(cutting, truncate=True)
    assert done.source_documents["fields changed"] == 4
    assert cut(cutting) == CUT


@pytest.mark.parametrize(
    "where",
    [
        (BatchStore, "write_batch"),
        (VectorWriter, "withdraw"),
        (assets.work.storing, "store_plan"),
    ],
    ids=["before the file", "before it is withdrawn", "before anything is stored"],
)
def test_killed_on_the_way_the_next_run_ends_as_if_nothing_had_happened(
    cutting, monkeypatch, where
):
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    use(cutting, truncate=False)
    with monkeypatch.context() as patch:
        patch.setattr(*where, killed)
        assert not cutting.run().success
    assert stored(cutting) == set(TEXTS), "no vector goes before its text is refused"
    back = run(cutting, truncate=True)
    assert (embedded(back), stored(cutting), cut(cutting)) == (0, set(TEXTS), CUT)
    with monkeypatch.context() as patch:
        patch.setattr(*where, killed)
        use(cutting, truncate=False)
        assert not cutting.run().success
    done = run(cutting, truncate=False)
    assert (embedded(done), stored(cutting)) == (0, {1, 3})
    assert set(cutting.quarantine()) == {"2", "4"}


def test_any_lengths_and_any_switching(workshop):
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    texts: dict[int, str] = {}
    for _ in range(6):
        for n in range(6):
            if not draw.randrange(3) or n not in texts:
                texts[n] = words(draw.randint(1, 2 * READS), draw.choice(["sea", "word"]))
        truncate = bool(draw.randrange(2))
        write(workshop, texts)
        run(workshop, truncate=truncate)
        long = {n for n, text in texts.items() if len(text.split()) > READS - 2}
        expected = set(texts) if truncate else set(texts) - long
        assert stored(workshop) == expected, seed
        assert cut(workshop) == (long if truncate else set()), seed
        for n, document in workshop.stored().items():
            assert document["text"] == texts[n], seed
