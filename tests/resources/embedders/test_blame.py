"""One text that cannot be embedded, however the server says it, costs no other."""

import threading
from typing import Any

import numpy as np
import pytest

from resources.core.errors import ProviderError
from tests.providers.openai import OpenAIServer
from tests.providers.server import ProviderServer
from tests.resources.embedders.test_remote import expected, until_error

TEXTS = [f"text {number}" for number in range(20)]
BAD = 7
SPOILT = [*TEXTS[:BAD], "a bad text", *TEXTS[BAD + 1 :]]
REST = [row for row in range(20) if row != BAD]
LASTING = (400, 413, 422)
REQUEST_FAULTS = [
    *LASTING,
    *(401, 402, 403, 404, 405, 408, 409, 410, 418, 425, 451, 500, 501, 503, 529),
    *("reset", "not_json", "html_502", "broken_json", "error_200", "short", "long", "empty"),
]
ROW_FAULTS = ["null", "nulls", "nan", "nan_base64", "empty", "narrow", "not_unit", "words"]


def spoil(api: ProviderServer, fault: Any) -> None:
    api.behaviour.fault_when = lambda request: (
        fault if any("bad" in text for text in request.texts) else None
    )


def only_the_bad_one(api: ProviderServer, reply: Any) -> str:
    """Checks the reply; returns the reason."""
    assert list(reply.refused) == [BAD]
    assert not reply.unfinished
    wanted = expected(api, [SPOILT[row] for row in REST])
    assert np.array_equal(reply.vectors[REST], wanted)
    return reply.refused[BAD].reason


@pytest.mark.parametrize("fault", REQUEST_FAULTS)
def test_a_text_that_fails_its_requests_is_to_blame_alone(api, connect, fault: Any):
    spoil(api, fault)
    reply = connect(api, attempts=2).embed(SPOILT, input_type="document")
    reason = only_the_bad_one(api, reply)
    assert isinstance(fault, str) or f"(HTTP {fault})" in reason
    assert reply.refused[BAD].lasting == (fault in LASTING)
    served = api.texts_served
    served.pop("a", None)
    assert served == dict.fromkeys((SPOILT[row] for row in REST), 1)
    # What a later run asks is no secret of this one: nothing has ended.
    assert len(connect(api).embed(TEXTS[:1], input_type="document").vectors) == 1


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_a_row_that_is_no_vector_costs_no_other_row(api, connect, fault: Any):
    api.behaviour.row_faults = {"bad": fault}
    reply = connect(api, attempts=2).embed(SPOILT, input_type="document")
    assert only_the_bad_one(api, reply).startswith("it returned ")
    assert not reply.refused[BAD].lasting
    billed = api.texts_billed
    assert {billed[SPOILT[row]] for row in REST} == {1}, "good rows of a reply were paid for"
    assert len(api.requests) <= 5


def test_many_rows_that_are_none_are_asked_for_again_together(api, connect):
    api.behaviour.row_faults = {"bad": "null"}
    texts = [f"{'bad' if number % 2 else 'good'} {number}" for number in range(40)]
    reply = connect(api, attempts=1).embed(texts, input_type="document")
    assert set(reply.refused) == set(range(1, 40, 2))
    assert np.array_equal(reply.vectors[::2], expected(api, texts[::2]))


def test_a_row_that_comes_the_second_time_is_kept(api, connect):
    api.behaviour.row_faults = {"bad": "null"}
    api.behaviour.latency = lambda request: api.behaviour.row_faults.clear() or 0.0
    rows = api.rows
    seen: list[int] = []

    def once(request: Any) -> Any:
        api.behaviour.row_faults = {} if seen else {"bad": "null"}
        seen.append(len(request.texts))
        return rows(request)

    api.rows = once
    reply = connect(api).embed(SPOILT, input_type="document")
    assert seen == [20, 1]
    assert not reply.refused
    assert np.array_equal(reply.vectors, expected(api, SPOILT))


@pytest.mark.parametrize("fault", [401, 403, 404, 500, "reset", "short", "error_200", "html_502"])
def test_an_outage_blames_nobody_and_keeps_what_is_finished(api, connect, fault: Any):
    down = threading.Event()

    def fails(request: Any) -> Any:
        if TEXTS[10] in request.texts:  # from then on, whatever is asked
            down.set()
        return fault if down.is_set() else None

    api.behaviour.fault_when = fails
    embedder = connect(api, attempts=2, concurrency=1, max_texts=2)
    finished, said = until_error(embedder.embed_batches([("one", TEXTS[:6]), ("two", TEXTS[6:])]))
    assert all(not reply.refused for reply in finished.values())
    assert not finished["one"].unfinished
    assert finished["two"].unfinished == set(range(4, 14))
    assert np.array_equal(finished["two"].vectors[:4], expected(api, TEXTS[6:10]))
    assert said.endswith("(embedding batch two)")


def test_an_outage_that_ends_after_the_last_try_blames_nobody(api, connect):
    """The harmless text passes; the other has not been asked since."""
    api.behaviour.fail_next(500, 500, None)
    reply = connect(api, attempts=2).embed(["only"], input_type="document")
    assert not reply.refused
    assert np.array_equal(reply.vectors, expected(api, ["only"]))
    assert len(api.requests) == 4


def test_a_text_that_is_always_refused_for_speed_is_to_blame_when_others_pass(api, clock, connect):
    api.behaviour.retry_after, api.behaviour.retry_after_seconds = "milliseconds", 10
    spoil(api, 429)
    reply = connect(api).embed(SPOILT, input_type="document")
    assert "(HTTP 429)" in only_the_bad_one(api, reply)
    assert not reply.refused[BAD].lasting


def test_many_bad_texts_do_not_look_like_an_outage(api, connect):
    spoil(api, 500)
    texts = [f"bad {number}" for number in range(12)]
    embedder = connect(api, attempts=2, max_failures=3, max_texts=1)
    reply = embedder.embed(texts, input_type="document")
    assert set(reply.refused) == set(range(12))


def test_a_harmless_text_that_is_refused_itself_is_no_proof(api, connect):
    """Some servers want longer texts than one letter; one of the run that passed tells then."""
    api.behaviour.fault_when = lambda request: (
        400 if any(text == "a" or "bad" in text for text in request.texts) else None
    )
    embedder = connect(api, max_texts=4, concurrency=1)
    only_the_bad_one(api, embedder.embed(SPOILT, input_type="document"))


# Numbering.


@pytest.mark.parametrize("fault", ["no_index", "reordered", "from_one"])
def test_rows_are_put_in_the_order_of_the_texts(api, connect, fault: Any):
    api.behaviour.fault_when = lambda _: fault
    reply = connect(api).embed(TEXTS, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, TEXTS))
    assert len(api.requests) == 1


@pytest.mark.parametrize("fault", ["zero_index", "duplicate_index"])
def test_rows_numbered_without_sense_are_asked_for_one_by_one(api, connect, fault: Any):
    api.behaviour.fault_when = lambda _: fault
    embedder = connect(api, attempts=2, max_texts=5)
    reply = embedder.embed(TEXTS, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, TEXTS))
    assert not reply.refused
    sent = len(api.requests)
    embedder.embed(["another", "and one more"], input_type="document")
    assert [len(request.texts) for request in api.requests[sent:]] == [1, 1]


# Encodings, and what else servers leave out.


@pytest.mark.parametrize("encodings", [["float"], ["base64"]])
@pytest.mark.parametrize("words", ["Scripted: encoding_format", "input is malformed"])
def test_a_server_gets_the_encoding_that_it_takes(
    openai_api: OpenAIServer, connect, monkeypatch, encodings: Any, words: str
):
    monkeypatch.setattr(openai_api, "error", lambda _: {"detail": words})
    openai_api.behaviour.encodings = encodings
    embedder = connect(openai_api)
    reply = embedder.embed(TEXTS, input_type="document")
    assert np.allclose(reply.vectors, expected(openai_api, TEXTS), atol=1e-6)
    sent = len(openai_api.requests)
    embedder.embed(TEXTS, input_type="document")
    assert len(openai_api.requests) == sent + 1, "it is remembered"


def test_a_server_that_fails_over_base64_gets_floats(openai_api: OpenAIServer, connect):
    openai_api.behaviour.fault_when = lambda request: (
        500 if request.options["encoding_format"] == "base64" else None
    )
    reply = connect(openai_api, attempts=2).embed(TEXTS, input_type="document")
    assert np.allclose(reply.vectors, expected(openai_api, TEXTS), atol=1e-6)


def test_a_text_that_speaks_of_base64_changes_nothing(openai_api: OpenAIServer, connect):
    openai_api.behaviour.fault_when = None
    openai_api.behaviour.poison = ["base64"]
    openai_api.error = lambda _: {"error": "bad text: what base64 is"}  # type: ignore
    embedder = connect(openai_api)
    embedder.embed(TEXTS, input_type="document")
    reply = embedder.embed(["what base64 is", "good"], input_type="document")
    assert list(reply.refused) == [0]
    assert {request.options["encoding_format"] for request in openai_api.requests} == {"base64"}


def test_a_server_that_does_not_say_what_it_bills(api, connect):
    api.behaviour.fault_when = lambda _: "no_usage"
    reply = connect(api).embed(TEXTS, input_type="document")
    assert reply.usage.tokens is None
    assert np.array_equal(reply.vectors, expected(api, TEXTS))


def test_a_wrong_setting_is_no_texts_fault(api, connect):
    for fault in ("wrong_width", "not_unit"):
        api.behaviour.row_faults = {"": "narrow" if fault == "wrong_width" else "not_unit"}
        with pytest.raises(ProviderError, match="nothing is stored"):
            connect(api).embed(TEXTS, input_type="document")
