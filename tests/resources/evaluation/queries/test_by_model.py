"""Questions by a chat model, over a real socket: asked once, kept at once, paid for knowingly."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from bson.objectid import ObjectId
from pymongo.database import Database

from resources.core.chunks import hash_text
from resources.core.errors import EvaluationError
from resources.core.keys import key
from resources.evaluation.queries.by_model import ByModelQueries
from resources.evaluation.queries.provider import Where
from resources.evaluation.queries.writing import Outline, Written
from tests.providers.chat import ChatServer, Messages
from tests.resources.evaluation.queries.places import where

DOCUMENTS = [{"_id": n, "text": f"Document number {n} tells of its own things."} for n in range(8)]


def obliging(messages: Messages) -> str:
    return json.dumps([f"what of {messages[-1]['content'].split()[2]}?"])


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    with ChatServer(obliging) as server:
        yield server


@pytest.fixture
def registry(mongod_uri: str) -> Iterator[Database]:
    with pymongo.MongoClient(mongod_uri) as client:
        name = f"test_{secrets.token_hex(6)}"
        yield client[name]
        client.drop_database(name)


def settings(chat: ChatServer, **given: Any) -> ByModelQueries:
    said = {"model": chat.MODEL, "base_url": chat.url, "concurrency": 1, "attempts": 1, **given}
    return ByModelQueries(**said)


def write(chosen: ByModelQueries, place: Where) -> tuple[Outline, Written]:
    writing = chosen.writing(place)
    outline = writing.outline()
    return outline, writing.write(outline, lambda line: None)


def test_each_document_is_asked_about_once_and_every_question_has_its_lineage(
    chat: ChatServer, registry: Database
):
    place, chosen = where(registry, DOCUMENTS), settings(chat, sample=5)
    outline, written = write(chosen, place)
    assert (len(outline.documents), written.documents, written.questions) == (5, 5, 5)
    asked = [messages[-1]["content"] for messages in chat.asked]
    assert sorted(asked) == sorted(each.text for each in outline.documents)
    found = chosen.open(place)
    queries = list(found)
    assert found.known_item
    assert [len(query.judgements) for query in queries] == [1] * 5
    for entry in registry["evaluation_queries"].find():
        (judged,) = entry["relevant"]
        text = DOCUMENTS[judged["id"]]["text"]
        assert entry["document"] == judged["id"]
        assert entry["text_hash"] == hash_text(text)
        assert (entry["model"], entry["server"]) == (chat.MODEL, chat.url)
        assert "{count}" in entry["prompt"]
        assert entry["at"] is not None
        assert entry["query"] == obliging([{"content": text}])[2:-2]
    again, nothing = write(chosen, place)
    assert (len(again.documents), again.kept, nothing.documents) == (0, 5, 0)
    assert len(chat.asked) == 5
    assert list(chosen.open(place)) == queries


def test_a_source_that_grows_and_changes_asks_only_for_what_is_new(
    chat: ChatServer, registry: Database
):
    chosen = settings(chat, sample=6)
    write(chosen, where(registry, DOCUMENTS[:4]))
    first = {query.id for query in chosen.open(where(registry))}
    grown = [{**each} for each in DOCUMENTS[1:]]
    grown[0]["text"] = "Document number one-and-a-half tells of other things."
    _, written = write(chosen, where(registry, grown))
    # One changed and one is gone; three are new, or the sample would not be full.
    assert (written.documents, written.removed) == (4, 2)
    after = {query.id: query for query in chosen.open(where(registry))}
    assert len(after) == 6
    assert len(first & set(after)) == 2
    assert {"what of one-and-a-half?"} <= {query.text for query in after.values()}


def test_ids_of_any_type_stay_what_they_are(chat: ChatServer, registry: Database):
    ids = [ObjectId(), "text", 5, {"$numberDecimal": "1.5"}]
    documents = [{"_id": each, "text": f"Document number {n}"} for n, each in enumerate(ids)]
    chosen, place = settings(chat), where(registry, documents)
    write(chosen, place)
    found = {name for query in chosen.open(place) for name in query.grades}
    assert found == {*(key(each) for each in ids[:3]), "q3/2"}


# --- money


def test_what_it_costs_is_known_before_and_a_budget_holds(chat: ChatServer, registry: Database):
    place = where(registry, DOCUMENTS)
    priced = {"usd_per_million_input": 2.0, "usd_per_million_output": 10.0}
    outline = settings(chat, **priced).writing(place).outline()
    assert outline.cost_usd is not None
    thought = (2 * outline.tokens_in + 10 * outline.tokens_out) / 1e6
    assert outline.cost_usd == pytest.approx(thought)
    least = outline.cost_usd * 0.99
    with pytest.raises(EvaluationError, match=r"8 documents costs about .*; nothing is spent; rai"):
        settings(chat, max_cost_usd=least, **priced).writing(place).outline()
    with pytest.raises(EvaluationError, match="the price of stub-chat is not known: say it with"):
        settings(chat, max_cost_usd=1.0).writing(place).outline()
    assert settings(chat).writing(place).outline().cost_usd is None
    assert not chat.calls
    _, written = write(settings(chat, max_cost_usd=outline.cost_usd, **priced), place)
    assert written.documents == 8
    assert 0 < (written.cost_usd or 0) <= outline.cost_usd


def test_it_stops_where_the_bill_is_higher_than_was_thought(chat: ChatServer, registry: Database):
    chat.answer = lambda messages: json.dumps(["why?", "x" * 4_000])
    priced = {"usd_per_million_input": 0.0, "usd_per_million_output": 1.0}
    _, written = write(settings(chat, max_cost_usd=0.002, **priced), where(registry, DOCUMENTS))
    assert written.stopped == "`max_cost_usd: 0.002` is spent"
    assert 0 < len(chat.asked) < 8
    assert written.documents == len(chat.asked)


# --- what goes wrong


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"message": {"refusal": "I will not."}}, "the model refuses: I will not"),
        ({"message": {"content": '["a'}, "finish_reason": "length"}, "cut off for its length"),
        ({"message": {"content": ""}, "finish_reason": "content_filter"}, "content filter"),
        (None, "the answer is empty"),
        ("  ", "the answer is empty"),
        ("Here you are: what of it?", "no JSON array of questions: Here you are"),
        ("[1, 2]", "no JSON array of questions"),
        ("[]", "no JSON array of questions"),
        ('["broken', "no JSON array of questions"),
    ],
)
def test_an_answer_that_is_none_costs_only_its_document(
    chat: ChatServer, registry: Database, said: Any, reason: str
):
    chat.answer = lambda messages: (
        said if messages[-1]["content"].startswith("Document number 3") else obliging(messages)
    )
    place = where(registry, DOCUMENTS[:5])
    _, written = write(settings(chat), place)
    ((name, why),) = written.refused
    assert (name, written.documents, written.stopped) == (3, 4, "")
    assert reason in why
    assert written.tokens_in > 0
    chat.answer = obliging
    outline, _ = write(settings(chat), place)
    assert [each.id for each in outline.documents] == [3]


@pytest.mark.parametrize(
    ("said", "questions"),
    [
        ('["a b?", "c d?"]', ["a b?", "c d?"]),
        ('```json\n["a b?"]\n```', ["a b?"]),
        ('{"questions": [" a\\n b? ", "a b?", ""]}', ["a b?"]),
        ('["a?", "b?", "c?", "d?"]', ["a?", "b?"]),
        ('["\\ud800?"]', ["??"]),
    ],
)
def test_answers_that_are_questions(
    chat: ChatServer, registry: Database, said: str, questions: list[str]
):
    chat.answer = lambda messages: said
    chosen, place = settings(chat, per_document=2), where(registry, DOCUMENTS[:1])
    write(chosen, place)
    assert sorted(query.text for query in chosen.open(place)) == sorted(questions)


def test_a_text_that_the_server_refuses_costs_only_itself(chat: ChatServer, registry: Database):
    chat.behaviour.fail_next(400, path="/chat")
    _, written = write(settings(chat), where(registry, DOCUMENTS[:4]))
    assert (written.documents, len(written.refused), written.stopped) == (3, 1, "")


def test_the_sdk_tries_again_what_fails_by_chance(chat: ChatServer, registry: Database):
    chat.behaviour.retry_after = "milliseconds"
    chat.behaviour.retry_after_seconds = 0.001
    chat.behaviour.fail_next(503, 429, path="/chat")
    _, written = write(settings(chat, attempts=3), where(registry, DOCUMENTS[:2]))
    assert (written.documents, written.refused) == (2, [])
    assert len(chat.calls) == 4


@pytest.mark.parametrize(
    ("fault", "requests", "why"),
    [(401, 1, "refuses the API key"), ("no_credit", 1, "no credit left"), (500, 5, "5 requests")],
)
def test_where_no_question_can_be_had_it_stops_and_keeps_what_it_has(
    chat: ChatServer, registry: Database, fault: Any, requests: int, why: str
):
    chat.behaviour.fail_next(None, *[fault] * 20, path="/chat")
    _, written = write(settings(chat), where(registry, DOCUMENTS))
    assert why in written.stopped
    assert (written.documents, len(chat.calls)) == (1, 1 + requests)
    assert "test-key" not in written.stopped


def test_a_model_that_is_not_there_is_asked_once(chat: ChatServer, registry: Database):
    _, written = write(settings(chat, model="another"), where(registry, DOCUMENTS))
    assert "does not exist" in written.stopped
    assert len(chat.calls) == 1


def test_a_key_is_needed_to_ask_and_not_to_read(
    chat: ChatServer, registry: Database, monkeypatch: pytest.MonkeyPatch
):
    chosen, place = settings(chat), where(registry, DOCUMENTS)
    write(chosen, place)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert len(list(chosen.open(place))) == 8
    other = settings(chat, per_document=2)
    with pytest.raises(EvaluationError, match="needs OPENAI_API_KEY, which is not set: set it"):
        write(other, place)
    with pytest.raises(
        EvaluationError, match=r"has no questions by stub-chat .* queries p generat"
    ):
        other.open(place)
    _, written = write(settings(chat, per_document=2, key_variable=""), place)
    assert "refuses the API key" in written.stopped


def test_what_stands_where_a_variable_is_named_is_not_shown():
    with pytest.raises(ValueError, match="is the name of an environment variable") as refused:
        ByModelQueries(model="m", key_variable="sk-very-secret")
    assert "sk-very" not in str(refused.value.errors()[0]["msg"])  # type: ignore[attr-defined]


# --- killed

KILLED = """
import sys
import pymongo
from resources.evaluation.queries.by_model import ByModelQueries
from tests.resources.evaluation.queries.places import where
from tests.resources.evaluation.queries.test_by_model import DOCUMENTS, write

uri, name, url = sys.argv[1:]
chosen = ByModelQueries(model="stub-chat", base_url=url, concurrency=2, attempts=1)
with pymongo.MongoClient(uri) as client:
    write(chosen, where(client[name], DOCUMENTS))
"""


@pytest.mark.proof
def test_killed_it_keeps_what_it_has_and_goes_on_there(
    chat: ChatServer, registry: Database, mongod_uri: str
):
    reached = threading.Event()

    def answer(messages: Messages) -> str:
        if len(chat.asked) >= 5:
            reached.set()
        return obliging(messages)

    chat.answer = answer
    chat.behaviour.hold = lambda request: len(chat.asked) >= 5
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, mongod_uri, registry.name, chat.url],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    kept = registry["evaluation_queries"].count_documents({})
    assert 3 <= kept <= 6  # two requests may be under way
    chat.behaviour.hold = lambda request: False
    _, written = write(settings(chat), where(registry, DOCUMENTS))
    assert written.documents == 8 - kept
    assert registry["evaluation_queries"].count_documents({}) == 8


def test_interrupted_it_keeps_what_is_under_way(
    chat: ChatServer, registry: Database, request: pytest.FixtureRequest
):
    # Whatever ran in this process before may have left another handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(messages: Messages) -> str:
        if len(chat.asked) == 3:
            signal.raise_signal(signal.SIGINT)
        return obliging(messages)

    chat.answer = interrupted
    with pytest.raises(KeyboardInterrupt):
        write(settings(chat, concurrency=2), where(registry, DOCUMENTS))
    assert registry["evaluation_queries"].count_documents({}) == len(chat.asked)
