"""`$rerank`, on the stand-in for Atlas and on servers that have none."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from bson import Decimal128, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection

from resources.core.errors import (
    ConfigurationError,
    DeploymentError,
    EmbeddingsError,
    ProviderError,
)
from resources.rerankers.base import Candidate, Reranker
from resources.rerankers.mongodb import MongoDBReranking, text_expression
from resources.rerankers.provider import Stored
from resources.rerankers.resource import RerankResource
from resources.sources.rejection import BadRecord
from resources.sources.text import TextField, TextTemplate
from tests.resources.rerankers.test_voyage import Counter
from tests.search_node import SearchNode, search_node
from tests.search_node.definitions import Refused

QUERY = "a slow puncture"
TEXTS = {"oven": "the oven is cold", 2: "a tyre", ObjectId(): "a slow puncture", "slow": "slow"}


@pytest.fixture
def node(mongod_uri: str) -> Iterator[SearchNode]:
    with search_node(mongod_uri) as node:
        node.reranking.on = True
        yield node


@pytest.fixture
def collection(node: SearchNode) -> Iterator[Collection]:
    name = f"test_{secrets.token_hex(6)}"
    with pymongo.MongoClient(node.uri) as client:
        made = client[name]["documents"]
        made.insert_many([{"_id": at, "text": text} for at, text in TEXTS.items()])
        yield made
        client.drop_database(name)


def opened(
    collection: Collection, text: TextField | TextTemplate | None = None, **settings: Any
) -> Reranker:
    meter = settings.pop("meter", None)
    resource = RerankResource(provider=MongoDBReranking(**settings))
    reranker = resource.open(Stored(collection, text or TextField("text")), meter)
    assert reranker is not None
    return reranker


def candidates(texts: dict[Any, str | None]) -> list[Candidate]:
    return [Candidate(at, text) for at, text in texts.items()]


def relevance(text: str) -> float:
    return len(set(QUERY.split()) & set(text.split())) / 3


def test_one_aggregate_scores_the_candidates_and_no_other_document(node, collection):
    collection.insert_one({"_id": "not a candidate", "text": QUERY})
    meter = Counter()
    ranking = opened(collection, meter=meter).scores(QUERY, candidates(TEXTS))
    assert ranking.scores == pytest.approx([relevance(text) for text in TEXTS.values()])
    assert ranking.order()[0] == 2
    ((stage, read),) = node.reranking.bodies
    assert stage == {
        "query": {"text": QUERY},
        "path": "text",
        "numDocsToRerank": 4,
        "model": "rerank-2.5-lite",
    }
    assert read == 4
    assert ranking.tokens is None, "the server does not say"
    (counted,) = meter.requests
    assert (counted["texts"], counted["tokens"]) == (4, None)
    assert counted["estimate"] > 0


def test_candidates_without_a_text_or_gone_stand_last(node, collection):
    collection.insert_many([{"_id": "none"}, {"_id": "empty", "text": ""}])
    asked = candidates({"none": None, "gone": "was here", **TEXTS, "empty": ""})
    ranking = opened(collection).scores(QUERY, asked)
    assert [score is None for score in ranking.scores] == [True, True, *[False] * 4, True]
    assert sorted(ranking.order()[-3:]) == [0, 1, 6]
    (note,) = ranking.notes
    assert "gave 1 of 5 texts no score (it is not there any more): they stand last" in note
    ((_, read),) = node.reranking.bodies
    assert read == 4, "what has no text is not paid for"


def test_a_document_that_has_lost_its_text_fails_nothing(node, collection):
    collection.update_one({"_id": 2}, {"$unset": {"text": ""}})
    collection.update_one({"_id": "slow"}, {"$set": {"text": None}})
    ranking = opened(collection).scores(QUERY, candidates(TEXTS))
    assert ranking.scores == pytest.approx([0, 0, 1, 0])


def test_one_score_for_all_is_noticed(node, collection):
    node.reranking.constant = 0.5986876487731934
    ranking = opened(collection).scores(QUERY, candidates(TEXTS))
    assert ranking.flat
    assert ranking.order() == [0, 1, 2, 3]
    assert "mongodb reranker rerank-2.5-lite gave all 4 texts the score 0.5987" in ranking.notes[0]


def test_more_than_the_stage_reads_at_once(node, collection):
    many = {f"id-{at}": f"text {at} {'slow' if at % 3 else ''}" for at in range(1500)}
    collection.insert_many([{"_id": at, "text": text} for at, text in many.items()])
    ranking = opened(collection).scores(QUERY, candidates(many))
    assert ranking.scores == pytest.approx([relevance(text) for text in many.values()])
    assert [read for _, read in node.reranking.bodies] == [1000, 500]


def test_prepare_finds_out_whether_there_is_such_a_stage_and_pays_nothing(node, collection):
    meter = Counter()
    opened(collection, meter=meter).prepare()
    ((_, read),) = node.reranking.bodies
    assert read == 0
    assert meter.requests == []
    with pytest.raises(ProviderError, match='unknown model "rerank-9"'):
        opened(collection, model="rerank-9").prepare()


def test_a_server_without_it_is_refused_with_a_way_out(database):
    database["documents"].insert_one({"_id": 1, "text": "slow"})
    reranker = opened(database["documents"])
    with pytest.raises(ConfigurationError) as raised:
        reranker.prepare()
    said = str(raised.value)
    assert said.startswith("this deployment has no `$rerank`, which")
    assert said.endswith("choose another reranker, such as `-c rerank/voyage.yaml`")
    assert "nrecognized" not in said, "the server's words look like an error of ours"
    with pytest.raises(EmbeddingsError):
        reranker.scores(QUERY, [Candidate(1, "slow")])


def test_what_the_server_refuses_is_in_its_own_words(node, collection):
    node.reranking.failing = Refused(9, "FailedToParse", "Native reranking is not enabled.")
    with pytest.raises(
        ProviderError,
        match=r"answers `\$rerank` with error 9 \(Native reranking is not enabled\): see that",
    ):
        opened(collection).scores(QUERY, candidates(TEXTS))
    assert opened(collection).scores(QUERY, candidates(TEXTS)).order()[0] == 2


def test_a_view_is_refused(node, collection):
    collection.database.create_collection("view", viewOn=collection.name)
    with pytest.raises(ProviderError, match="not allowed on a view"):
        opened(collection.database["view"]).prepare()


def test_a_server_that_is_away():
    uri = "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=50"
    with pymongo.MongoClient(uri) as client, pytest.raises(DeploymentError, match="reached"):
        opened(client["a"]["b"]).prepare()


def test_it_needs_documents_to_read():
    with pytest.raises(ConfigurationError, match="reads documents in a collection"):
        RerankResource(provider=MongoDBReranking()).open()


def test_its_price_is_voyages():
    assert MongoDBReranking().facts().usd_per_million == 0.02
    assert MongoDBReranking(model="rerank-2.5").facts().usd_per_million == 0.05
    with pytest.raises(ConfigurationError, match="voyage-4 embeds, and does not rerank"):
        MongoDBReranking(model="voyage-4").facts()


VALUES = (
    st.none()
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
    | st.lists(st.sampled_from(["a", "$b", "", " "]), max_size=3)
    | st.integers(-5, 5)
    | st.booleans()
    | st.just(Decimal128("1.50"))
    | st.just({"inner": 1})
)
SHAPES = st.sampled_from(
    [
        TextField("title"),
        TextField("a.title", join=", "),
        TextField("title", join="$"),
        TextTemplate((("$cost: ", "title"), (" by ", "a.title"), ("!", None)), join="; "),
        TextTemplate((("", "title"), ("$title", None))),
    ]
)


@given(SHAPES, VALUES, VALUES, st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_makes_the_text_that_was_embedded(node, collection, shape, one, two, missing):
    document = {"_id": "made"} if missing else {"_id": "made", "title": one, "a": {"title": two}}
    collection.replace_one({"_id": "made"}, document, upsert=True)
    stages = [{"$match": {"_id": "made"}}, {"$project": {"text": text_expression(shape)}}]
    (row,) = collection.aggregate(stages)
    assert isinstance(row["text"], str), "a missing path fails the stage"
    try:
        expected = shape.render(document)
    except BadRecord:
        return
    assert row["text"] == expected


def test_the_stages_are_bson_whatever_is_asked(node, collection):
    for query in ("$where", "a\tb", "🚲 ünïcode", re.escape("(.*)")):
        assert opened(collection).scores(query, candidates(TEXTS)).order()
