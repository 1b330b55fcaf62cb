"""Everything that is known of a vector: of a document's or a chunk's, in one space and in two."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.lineage import of_vector, of_vectors, summary
from resources.core.chunks import hash_text
from resources.core.errors import QueryRefused
from resources.registry.pipeline_spaces import Change
from tests.models import build_static_model
from tests.providers.openai import openai_server
from tests.workshop import Workshop

DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 7}", "kind": f"k{n % 3}"} for n in range(12)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another model of the same width."""
    return str(build_static_model(tmp_path_factory.mktemp("lineage") / "other", seed=7))


@pytest.fixture(scope="module")
def make(
    tmp_path_factory: pytest.TempPathFactory, _servers: Any, static_model: str
) -> Iterator[Callable[[], Workshop]]:
    """Makes a pipeline of its own on the genuine mongod, which has run over `DOCUMENTS`."""
    made: list[Workshop] = []

    def one() -> Workshop:
        folder, name = tmp_path_factory.mktemp("lineage"), f"test_{secrets.token_hex(6)}"
        workshop = Workshop(folder, _servers.uri("mongod"), name, static_model)
        made.append(workshop)
        workshop.write(DOCUMENTS)
        run = workshop.run()
        assert run.success, run.failures
        return workshop

    yield one
    for each in made:
        each.client.drop_database(each.database)
        each.client.close()


@pytest.fixture(scope="module")
def films(make: Callable[[], Workshop]) -> Workshop:
    """To be looked at."""
    return make()


def beside(workshop: Workshop, model: str, *, promote: bool = False) -> str:
    """Build another space, and let it serve; its id."""
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    run = workshop.run(config={"resources": {"embedder": {"config": embedder}}})
    assert run.success, run.failures
    with open_pipeline(workshop.pipeline) as o:
        record = o.record
        states = {each.space_id: record.state(each.space_id) for each in record.entries()}
        (ready,) = (name for name, state in states.items() if state == "ready")
        if promote:
            assert o.registry.of_pipelines.serve(record, Change("promoted", ready, by="a test"))
    return ready


def test_of_one_vector_all_is_told(films: Workshop):
    found = of_vector(films.pipeline, "3", dagster_url="http://dagster.example/")
    text = DOCUMENTS[3]["text"]
    assert (found.id, found.source_id, found.path, found.state) == (3, 3, "embedding", "serving")
    assert (found.excerpt, found.lineage["text_hash"]) == (text, hash_text(text))
    assert found.meaning
    assert found.meaning.dimensions == 64
    assert found.details
    assert found.details["code"]["embedding_batches"] == "1"
    assert "sentence-transformers" in found.details["versions"]
    assert Path(found.batch_file).exists()
    assert found.run_url == f"http://dagster.example/runs/{found.lineage['run']}"
    assert found.share
    assert found.share.cost_usd == 0.0
    assert (found.source.state, found.place) == ("same", None)
    (space,) = found.spaces
    assert (space.path, space.state, space.same_text) == ("embedding", "serving", True)


def test_a_bill_is_shared_by_texts_where_the_provider_does_not_count_each(
    make: Callable[[], Workshop], monkeypatch: pytest.MonkeyPatch
):
    shop = make()
    shop.configure({"vector_store": {"collection": "paid"}})
    with openai_server() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.behaviour.key)
        provider = {"model": "text-embedding-3-small", "base_url": server.url, "dimensions": 16}
        shop.configure({"embedder": {"provider": {"openai": provider}}})
        assert shop.run().success
    found = of_vectors(shop.pipeline, limit=100)
    with open_pipeline(shop.pipeline) as o:
        spent = sum(row.cost_usd for row in o.registry.ledger.spend(shop.name))
    assert spent > 0
    shares = [each.share for each in found if each.share]
    assert len(shares) == len(DOCUMENTS)
    assert sum(each.cost_usd or 0 for each in shares) == pytest.approx(spent)
    assert {each.by for each in shares} == {"texts"}


def test_what_the_source_says_now(make: Callable[[], Workshop]):
    films = make()
    changed = [{**each} for each in DOCUMENTS]
    changed[2]["text"] = "quite another text"
    changed[4]["text"] = ""
    del changed[7]
    films.write(changed)
    states = {each.id: each.source.state for each in of_vectors(films.pipeline)}
    assert (states[1], states[2], states[4], states[7]) == ("same", "changed", "refused", "gone")
    films.source.unlink()
    one = of_vector(films.pipeline, "1").source
    assert one.state == "unknown"
    assert "cannot be read" in one.why
    assert of_vector(films.pipeline, "1", source=False).source.state == "unknown"


def test_of_a_record_that_was_cut_every_chunk(make: Callable[[], Workshop]):
    workshop = make()
    workshop.configure({"vector_store": {"collection": "cut"}})
    workshop.configure({"source": {"chunking": {"recursive": {"size": 40, "overlap": 0}}}})
    text = "One sentence of this text is here.\n\nAnother one is there, and a bit longer."
    workshop.write([{"_id": "a", "text": text}, {"_id": "b", "text": "short"}])
    assert workshop.run().success
    found = of_vectors(workshop.pipeline, document_id="a")
    assert len(found) > 1
    assert [each.place["index"] for each in found if each.place] == list(range(len(found)))
    for each in found:
        assert each.place
        assert text[each.place["start"] : each.place["end"]] == each.excerpt
        assert (each.source_id, each.source.state) == ("a", "same")
    with pytest.raises(QueryRefused, match="several chunks"):
        of_vector(workshop.pipeline, "a")
    one = of_vector(workshop.pipeline, found[1].id)
    assert one.excerpt == found[1].excerpt
    workshop.write([{"_id": "a", "text": text.replace("Another", "A third")}])
    states = [each.source.state for each in of_vectors(workshop.pipeline, document_id="a")]
    assert states[0] == "same"
    assert "changed" in states
    assert of_vectors(workshop.pipeline, document_id="b")[0].source.state == "gone"


def test_a_filter_finds_documents(films: Workshop):
    found = of_vectors(films.pipeline, filter={"kind": "k1"})
    assert {each.id for each in found} == {1, 4, 7, 10}
    assert len(of_vectors(films.pipeline, filter={"kind": {"$in": ["k1", "k2"]}}, limit=3)) == 3
    run = found[0].lineage["run"]
    assert len(of_vectors(films.pipeline, filter={"embedding_lineage.run": run})) == 12
    assert of_vectors(films.pipeline, filter={"kind": "none"}) == []


@pytest.mark.parametrize(
    ("clause", "word"),
    [
        ({"$where": "sleep(1000)"}, "script"),
        ({"kind": {"$function": {"body": "x"}}}, "script"),
        ({"$expr": {"$eq": ["$a", "$b"]}}, "not taken here"),
        ({"$and": []}, "non-empty"),
        ({"$or": [{"kind": {"$not": {"$near": 1}}}]}, r"\$near"),
        ({"kind": {"$elemMatch": {"$where": "1"}}}, "script"),
    ],
)
def test_a_filter_that_is_more_than_conditions_is_refused(
    films: Workshop, clause: dict[str, Any], word: str
):
    with pytest.raises(QueryRefused, match=word):
        of_vectors(films.pipeline, filter=clause)


def test_what_there_is_not_is_said(films: Workshop):
    with pytest.raises(QueryRefused, match="no document 'none'"):
        of_vector(films.pipeline, "none")
    films.vectors.insert_one({"_id": "bare", "text": "somebody's"})
    with pytest.raises(QueryRefused, match="no vector of this project"):
        of_vector(films.pipeline, "bare")


def test_in_two_spaces(workshop: Workshop, other: str):
    workshop.write(DOCUMENTS)
    assert workshop.run().success
    (row,) = summary(workshop.pipeline)
    assert (row.vectors, row.state, row.path) == (12, "serving", "embedding")
    assert (row.stored_as, row.bytes) == ("float32", 12 * (64 * 4 + 7))
    workshop.write([*DOCUMENTS, {"_id": 99, "text": "one more"}])
    new = beside(workshop, other, promote=True)
    rows = summary(workshop.pipeline)
    assert [(each.space == new, each.state, each.vectors) for each in rows] == [
        (True, "serving", 13),
        (False, "previous", 13),
    ]
    runs = summary(workshop.pipeline, by="run")
    assert [each.vectors for each in runs] == [13, 12, 1]
    assert len({each.run for each in runs}) == 2
    (month,) = {each.month for each in summary(workshop.pipeline, by="month")}
    assert month
    assert len(month) == 7
    found = of_vector(workshop.pipeline, "3")
    path = f"embedding__{new}"
    assert (found.path, found.state, found.lineage["space"]) == (path, "serving", new)
    assert [(each.path, each.state) for each in found.spaces] == [
        (path, "serving"),
        ("embedding", "previous"),
    ]


def test_a_model_that_cannot_be_had_any_more_hides_nothing(
    make: Callable[[], Workshop], tmp_path: Path
):
    films = make()
    gone = {"sentence_transformers": {"model": str(tmp_path / "nowhere")}}
    films.configure({"embedder": {"provider": gone}})
    assert json.dumps(of_vector(films.pipeline, "3").details)
    assert summary(films.pipeline)[0].vectors == 12
