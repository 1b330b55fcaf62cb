"""A searcher that stays open: threads, versions, batches, vectors, and what it refuses."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pymongo.collection import Collection

import resources.mongodb.clients
from pipelines.framework.catalog import open_pipeline
from pipelines.operations.search import open_searcher, search
from resources.core.errors import QueryRefused
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.vector_store.store import VectorStore
from tests.workshop import Workshop


def ids(answer: Any) -> list[Any]:
    return [hit.id for hit in answer.hits]


def test_everything_is_loaded_once(films: Workshop, monkeypatch):
    films.run()
    loads: list[str] = []
    load = SentenceTransformersProvider.load
    monkeypatch.setattr(
        SentenceTransformersProvider,
        "load",
        lambda self, folder: loads.append(str(folder)) or load(self, folder),
    )
    connects: list[str] = []
    connect = resources.mongodb.clients._connect
    monkeypatch.setattr(
        resources.mongodb.clients,
        "_connect",
        lambda uri, seconds: connects.append(uri) or connect(uri, seconds),
    )
    with open_searcher(films.pipeline) as searcher:
        for number in range(30):
            assert ids(searcher.search(f"the number {number}", limit=1))[0] in range(30)
    assert len(loads) == 1
    assert len(connects) <= 1, "none where the run's own is still there"


def test_many_questions_are_one_batch_and_one_fetch(films: Workshop, monkeypatch):
    films.run()
    fetched: list[int] = []
    fetch = VectorStore.documents
    monkeypatch.setattr(
        VectorStore,
        "documents",
        lambda self, ids, *given, **how: (
            fetched.append(len(ids)) or fetch(self, ids, *given, **how)
        ),
    )
    questions = [f"the film number {number}" for number in range(20)]
    with open_searcher(films.pipeline) as searcher:
        embedded: list[int] = []
        embed = searcher._queries._embedder.embed
        monkeypatch.setattr(
            searcher._queries._embedder,
            "embed",
            lambda texts, **how: embedded.append(len(texts)) or embed(texts, **how),
        )
        alone = [searcher.search(question, limit=3) for question in questions]
        assert fetched == [3] * 20
        del fetched[:], embedded[:]
        together = searcher.search_many(questions, limit=3)
    assert embedded == [20]
    assert fetched == [60]
    assert [ids(answer) for answer in together] == [ids(answer) for answer in alone]
    assert [answer.query for answer in together] == questions
    for one, other in zip(alone, together, strict=True):
        assert [hit.lineage for hit in one.hits] == [hit.lineage for hit in other.hits]


@pytest.mark.parametrize("engine", ["mongodb"], indirect=True)
def test_vector_search_brings_everything_along(films: Workshop, monkeypatch):
    films.run()
    with open_searcher(films.pipeline) as searcher:
        sent: list[Any] = []
        aggregate = Collection.aggregate
        monkeypatch.setattr(
            Collection,
            "aggregate",
            lambda self, stages, *rest, **how: (
                sent.append(stages) or aggregate(self, stages, *rest, **how)
            ),
        )
        monkeypatch.setattr(VectorStore, "documents", lambda *_: pytest.fail("a second trip"))
        (hit,) = searcher.search("the film number 3", limit=1, filter={"kind": "film"}).hits
    assert len(sent) == 1
    assert hit.text == "the film number 3"
    assert hit.fields == {"kind": "film"}
    assert hit.lineage["space"] == films.stored()[3]["embedding_lineage"]["space"]


def test_threads_get_their_own_answers(films: Workshop):
    films.run()
    wrong: list[Any] = []
    with open_searcher(films.pipeline) as searcher:
        expected = {n: ids(searcher.search(f"the number {n}", limit=4)) for n in range(30)}

        def ask(number: int) -> None:
            number %= 30
            found = ids(searcher.search(f"the number {number}", limit=4))
            if found != expected[number]:
                wrong.append((number, found))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(240)))
    assert not wrong


def test_one_bad_question_costs_the_others_nothing(films: Workshop):
    """Also where they are embedded together."""
    films.run()
    with open_searcher(films.pipeline) as searcher:
        begun = threading.Barrier(8)
        outcomes: list[Any] = []

        def ask(text: str) -> None:
            begun.wait()
            try:
                outcomes.append(len(searcher.search(text, limit=1).hits))
            except QueryRefused as refused:
                outcomes.append(str(refused))

        # A static model makes zeros of what it knows no token of.
        texts = ["the film", "\u200b", *["the play"] * 6]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, texts))
        assert outcomes.count(1) == 7
        (refusal,) = (outcome for outcome in outcomes if outcome != 1)
        assert "no token" in refusal


def test_a_vector_finds_what_its_text_finds(films: Workshop):
    films.run()
    with open_searcher(films.pipeline) as searcher:
        (vector,) = searcher.embed_queries(["the song number 5"])
        by_text = searcher.search("the song number 5", limit=4)
        for asked in (vector, vector.tolist(), vector.astype(np.float64)):
            found = searcher.search(asked, limit=4)
            assert ids(found) == ids(by_text)
            assert found.query.startswith(f"<vector of {len(vector)}: ")
        mixed = searcher.search_many(["the song number 5", vector], limit=4)
        assert ids(mixed[0]) == ids(mixed[1])
        for wrong in (vector[:-1], [[1.0, 2.0]], ["a", "b"], [], None, 5, vector * np.nan):
            with pytest.raises(QueryRefused):
                searcher.search(wrong)


def test_documents_are_embedded_as_a_run_embeds_them(films: Workshop):
    films.run()
    stored = films.vectors.find_one({"_id": 4})
    assert stored is not None
    with open_searcher(films.pipeline) as searcher:
        (vector,) = searcher.embed_documents([stored["text"]])
        assert np.allclose(vector, stored["embedding"].as_vector().data, atol=1e-6)


def test_it_can_be_awaited(films: Workshop):
    films.run()

    async def ask() -> list[Any]:
        with open_searcher(films.pipeline) as searcher:
            alone = [searcher.asearch(f"the film number {n}", limit=1) for n in range(5)]
            return [*await asyncio.gather(*alone), *await searcher.asearch_many(["the play"] * 2)]

    assert all(answer.hits for answer in asyncio.run(ask()))


@pytest.mark.parametrize("follow", [True, False])
def test_a_new_version_is_noticed_within_a_second_or_so(films: Workshop, follow: bool):
    films.run()
    with open_searcher(films.pipeline, follow=follow) as searcher:
        before = searcher.search("a lighthouse", limit=30)
        films.write([{"_id": "new", "text": "a lighthouse"}])
        films.configure({"vector_store": {"allow_delete": True}})
        assert films.run().success
        deadline = time.monotonic() + 60  # of a slow machine; the rule is a second
        while ids(after := searcher.search("a lighthouse", limit=30)) != ["new"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert after.version != before.version


def test_an_answer_is_of_one_version(films: Workshop):
    """While versions come and go, every answer is what one of them would say."""
    films.configure({"vector_store": {"allow_delete": True}})
    generations = [
        [{"_id": f"{generation}-{n}", "text": f"the film number {n}"} for n in range(20)]
        for generation in range(4)
    ]
    films.write(generations[0])
    films.run()
    mixed: list[Any] = []
    stop = threading.Event()
    with open_searcher(films.pipeline) as searcher:

        def ask() -> None:
            while not stop.is_set():
                answer = searcher.search("the film number 3", limit=20)
                # Documents that a run removes meanwhile are missing, never others in their place.
                if len({hit.id.split("-")[0] for hit in answer.hits}) > 1:
                    mixed.append(ids(answer))

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        try:
            for generation in generations[1:]:
                films.write(generation)
                assert films.run().success
        finally:
            stop.set()
            for thread in asking:
                thread.join()
    assert not mixed


def test_before_the_first_run_it_says_so_and_then_answers(films: Workshop):
    with open_searcher(films.pipeline, follow=False) as searcher:
        with pytest.raises(QueryRefused, match="embeddings run films"):
            searcher.search("the film")
        films.run()
        assert searcher.search("the film").hits


def test_a_dropped_index_is_not_answered_from(films: Workshop):
    films.run()
    with open_searcher(films.pipeline, follow=False) as searcher:
        assert searcher.search("the film").hits
        with open_pipeline(films.pipeline) as opened:
            films.client[films.database]["search_indexes"].delete_one({"_id": opened.index_key})
        time.sleep(1.1)
        with pytest.raises(QueryRefused, match="embeddings run films"):
            searcher.search("the film")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"filter": {"colour": "red"}}, "colour"),
        ({"mode": "fuzzy"}, "choose vector, text or hybrid"),
        ({"mode": "text"}, "text"),
        ({"mode": "hybrid"}, "vectors only"),
        ({"limit": 0}, "limit"),
        ({"expand": -1}, "expand"),
        ({"expand": 1.5}, "expand"),
        ({"diversity": 2}, "diversity"),
        ({"diversity": float("nan")}, "diversity"),
        ({"min_score": "high"}, "min_score"),
        ({"weights": (0, 0)}, "weights"),
        ({"weights": (-1, 1)}, "weights"),
        ({"colour": "red"}, "no option 'colour'"),
    ],
)
def test_nothing_is_embedded_for_what_is_refused(
    films: Workshop, monkeypatch, options: dict[str, Any], words: str
):
    films.run()
    with open_searcher(films.pipeline) as searcher:

        def never(*_: Any, **__: Any) -> Any:
            raise AssertionError("it was embedded")

        monkeypatch.setattr(searcher._queries._embedder, "embed", never)
        with pytest.raises(QueryRefused, match=words):
            searcher.search("the film", **options)


def test_one_question_after_another_keeps_what_it_needs(films: Workshop, monkeypatch):
    films.run()
    opened: list[str] = []
    load = SentenceTransformersProvider.load
    monkeypatch.setattr(
        SentenceTransformersProvider,
        "load",
        lambda self, folder: opened.append("model") or load(self, folder),
    )
    for number in range(5):
        assert search(films.pipeline, f"the film number {number}").hits
    assert opened == ["model"]
    # What the YAML says now counts, and not what it said before.
    films.configure({"search_index": {"filter_fields": []}})
    films.run()
    with pytest.raises(QueryRefused, match="kind"):
        search(films.pipeline, "the film", filter={"kind": "film"})
