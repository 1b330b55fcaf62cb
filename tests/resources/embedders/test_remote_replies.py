"""Replies that are not what was asked for, and what an error says."""

from typing import Any

import pytest

from resources.errors import ProviderError
from tests.resources.embedders.test_remote import TEXTS, until_error

DAMAGE = [
    ("short", "returned 1 vectors for 2 texts"),
    ("empty", "returned 0 vectors for 2 texts"),
    ("reordered", "answered the texts in another order, or not each once"),
    ("duplicate_index", "answered the texts in another order, or not each once"),
    ("nan", "NaN or infinite values for text 1 of 2"),
    ("wrong_width", "vectors of 255 dimensions, the space .* has 256"),
    ("ragged", "vectors of 255 and 256 dimensions in one reply, the space .* has 256"),
    ("not_unit", "length 3.0000 for text 1 of 2"),
]


@pytest.mark.parametrize(("fault", "message"), DAMAGE)
def test_a_damaged_reply_ends_the_run_and_nothing_of_it_is_returned(
    api, connect, fault: Any, message: str
):
    api.behaviour.fault_when = lambda request: fault if TEXTS[2] in request.texts else None
    embedder = connect(api, max_texts=2, concurrency=1)
    finished, said = until_error(embedder.embed_batches([("first", TEXTS)]))
    assert finished["first"].unfinished == {2, 3, 4}
    assert len(api.requests) == 2
    assert said.startswith(("voyage model voyage-4", "openai model text-embedding-3-small"))
    assert said.endswith("is stored (embedding batch first)")
    assert len(said) < 250
    with pytest.raises(ProviderError, match=message):
        embedder.embed(["another"], input_type="document")
    assert len(api.requests) == 2, "nothing goes out after it"


@pytest.mark.parametrize("fault", [name for name, _ in DAMAGE])
def test_damage_among_many_requests_stops_the_others(api, connect, fault: Any):
    api.behaviour.latency = 0.02
    api.behaviour.fault_when = lambda request: fault if "20" in request.texts else None
    embedder = connect(api, max_texts=2)
    with pytest.raises(ProviderError):
        embedder.embed([str(number) for number in range(400)], input_type="document")
    damaged = [request.number for request in api.requests if "20" in request.texts]
    assert len(damaged) == 1
    assert len(api.requests) <= damaged[0] + 3 * 8


SAID = {
    "voyage": {
        401: "it refuses the API key (401): set VOYAGE_API_KEY to a valid one",
        403: "Your account is not permitted to use this model (HTTP 403): VOYAGE_API_KEY is not of "
        "an account that may use the model",
        404: "Scripted fault 404 (HTTP 404)",
        500: "The server failed to process the request (HTTP 500)",
        503: "The server is overloaded or not ready yet (HTTP 503)",
        529: "the reply cannot be read (AttributeError)",
        "not_json": "the reply cannot be read (HTTP 200)",
        "broken_json": "the reply cannot be read (HTTP 200)",
        "hang": "Request timed out",
        "reset": "Error communicating with Voyage",
        "cut": "the reply cannot be read (ClientPayloadError)",
    },
    "openai": {
        401: "it refuses the API key (401): set OPENAI_API_KEY to a valid one",
        403: "Country, region, or territory not supported (HTTP 403): OPENAI_API_KEY is not of an "
        "account that may use the model",
        404: "Scripted fault 404 (HTTP 404)",
        500: "The server had an error while processing your request (HTTP 500)",
        503: "The engine is currently overloaded, please try again later (HTTP 503)",
        529: "Scripted fault 529 (HTTP 529)",
        "not_json": "the reply cannot be read (JSONDecodeError)",
        "broken_json": "the reply cannot be read (JSONDecodeError)",
        "hang": "Request timed out",
        "reset": "Connection error",
        "no_credit": "the account has no credit left: You exceeded your current quota, please "
        "check your plan and billing details (HTTP 429)",
    },
}
MODELS = {"voyage": "voyage-4-large", "openai": "text-embedding-3-small"}


@pytest.mark.parametrize(
    ("provider", "fault"), [(provider, fault) for provider in SAID for fault in SAID[provider]]
)
def test_an_error_is_one_clean_sentence(request, connect, provider: str, fault: Any):
    server = request.getfixturevalue(f"{provider}_api")
    server.behaviour.fail_next(fault)
    patience = 0.4 if fault == "hang" else 10
    with pytest.raises(ProviderError) as caught:
        connect(server, attempts=1, timeout_seconds=patience).embed(TEXTS, input_type="document")
    said = str(caught.value).removesuffix("; tried 1 times")
    assert said == f"{provider} model {MODELS[provider]}: {SAID[provider][fault]}"


@pytest.mark.parametrize("detail", [[{"loc": ["body"], "msg": "too long"}], {"why": "so"}, None])
def test_an_error_without_a_text_is_told_all_the_same(voyage_api, connect, monkeypatch, detail):
    """FastAPI, which Voyage's service is written in, gives details as lists."""
    monkeypatch.setattr(voyage_api, "error", lambda _: {"detail": detail})
    voyage_api.behaviour.fail_next(404)
    with pytest.raises(ProviderError, match=r"^voyage model voyage-4-large: .*\(HTTP 404\)$"):
        connect(voyage_api).embed(TEXTS, input_type="document")


@pytest.mark.parametrize("fault", [401, 403])
def test_a_key_that_is_refused_stops_at_once_and_names_the_variable(api, connect, fault: int):
    api.behaviour.fault_when = lambda _: fault
    with pytest.raises(ProviderError, match=r"(VOYAGE|OPENAI)_API_KEY"):
        connect(api, concurrency=1).embed(TEXTS, input_type="document")
    assert len(api.requests) == 1
    with pytest.raises(ProviderError, match=r"(VOYAGE|OPENAI)_API_KEY"):
        connect(api, concurrency=3, max_texts=1).embed(["a"] * 50, input_type="document")
    assert len(api.requests) <= 1 + 3, "those in flight"


def test_a_key_is_never_shown(api, connect):
    with pytest.raises(ProviderError) as caught:
        connect(api, api_key="sk-wrong").embed(TEXTS, input_type="document")
    assert "sk-wrong" not in str(caught.value)
