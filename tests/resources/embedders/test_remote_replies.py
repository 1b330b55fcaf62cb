"""What an error says, and which replies end a run at once."""

from typing import Any

import pytest

from resources.core.errors import ProviderError
from tests.resources.embedders.test_remote import TEXTS, until_error

SETTINGS = [
    ("wrong_width", "vectors of 255 dimensions, the space .* has 256; nothing is stored"),
]


@pytest.mark.parametrize(("fault", "message"), SETTINGS)
def test_vectors_that_are_all_of_another_width_end_the_run(api, connect, fault: Any, message: str):
    api.behaviour.fault_when = lambda _: fault
    embedder = connect(api, max_texts=2, concurrency=1)
    finished, said = until_error(embedder.embed_batches([("first", TEXTS)]))
    assert finished == {}
    assert len(api.requests) <= 3, "a harmless text came no better, OpenAI's as floats neither"
    assert said.startswith(("voyage model voyage-4", "openai model text-embedding-3-small"))
    assert said.endswith("is stored (embedding batch first)")
    sent = len(api.requests)
    with pytest.raises(ProviderError, match=message):
        embedder.embed(["another"], input_type="document")
    assert len(api.requests) == sent, "nothing goes out after it"


SAID = {
    "voyage": {
        401: "it refuses the API key (401): set VOYAGE_API_KEY to a valid one",
        403: "Your account is not permitted to use this model (HTTP 403): VOYAGE_API_KEY is not of "
        "an account that may use the model",
        404: "it refuses every text: Scripted fault 404 (HTTP 404)",
        500: "Scripted fault 500 (HTTP 500)",
        503: "Scripted fault 503 (HTTP 503)",
        529: "Scripted fault 529 (HTTP 529)",
        "not_json": "Please sign in to the corporate proxy (HTTP 200)",
        "html_502": "Please sign in to the corporate proxy (HTTP 502)",
        "error_200": "No endpoint is free (HTTP 200)",
        "broken_json": "the reply cannot be read (JSONDecodeError)",
        "hang": "no answer within 60 seconds",
        "stall": "no answer within 60 seconds",
        "reset": "Error communicating with Voyage",
        "cut": "the reply cannot be read (ClientPayloadError)",
        "short": "it returned 4 vectors for 5 texts",
        "long": "it returned 6 vectors for 5 texts",
        "empty": "it returned 0 vectors for 5 texts",
    },
    "openai": {
        401: "it refuses the API key (401): set OPENAI_API_KEY to a valid one",
        403: "Country, region, or territory not supported (HTTP 403): OPENAI_API_KEY is not of an "
        "account that may use the model",
        404: "it refuses every text: Scripted fault 404 (HTTP 404)",
        500: "The server had an error while processing your request (HTTP 500)",
        503: "The engine is currently overloaded, please try again later (HTTP 503)",
        529: "Scripted fault 529 (HTTP 529)",
        "not_json": "Please sign in to the corporate proxy (HTTP 200)",
        "html_502": "Please sign in to the corporate proxy (HTTP 502)",
        "error_200": "No endpoint is free (HTTP 200)",
        "broken_json": "the reply cannot be read (JSONDecodeError)",
        "hang": "no answer within 60 seconds",
        "stall": "no answer within 60 seconds",
        "reset": "Connection error",
        "short": "it returned 4 vectors for 5 texts",
        "long": "it returned 6 vectors for 5 texts",
        "empty": "it returned 0 vectors for 5 texts",
        "no_credit": "the account has no credit left: You exceeded your current quota, please "
        "check your plan and billing details (HTTP 429)",
    },
}
MODELS = {"voyage": "voyage-4-large", "openai": "text-embedding-3-small"}


@pytest.mark.parametrize(
    ("provider", "fault"), [(provider, fault) for provider in SAID for fault in SAID[provider]]
)
def test_an_error_is_one_clean_sentence(request, clock, connect, provider: str, fault: Any):
    server = request.getfixturevalue(f"{provider}_api")
    server.behaviour.fault_when = lambda _: fault
    with pytest.raises(ProviderError) as caught:
        connect(server, attempts=1).embed(TEXTS, input_type="document")
    said = str(caught.value).removesuffix("; tried 1 times")
    assert said == f"{provider} model {MODELS[provider]}: {SAID[provider][fault]}"


@pytest.mark.parametrize("fault", [401, 403])
def test_a_key_that_is_refused_stops_at_once_and_names_the_variable(api, connect, fault: int):
    api.behaviour.fault_when = lambda _: fault
    with pytest.raises(ProviderError, match=r"(VOYAGE|OPENAI)_API_KEY"):
        connect(api, concurrency=1).embed(TEXTS, input_type="document")
    assert len(api.requests) == 2, "the texts, and a harmless one"
    with pytest.raises(ProviderError, match=r"(VOYAGE|OPENAI)_API_KEY"):
        connect(api, concurrency=3, max_texts=1).embed(["a"] * 50, input_type="document")
    assert len(api.requests) <= 2 + 2 * 3 + 1, "those in flight, and a harmless one"


def test_a_key_is_never_shown(api, connect, monkeypatch):
    key = "sk-wrong"
    monkeypatch.setattr(
        api, "error", lambda refused: {"error": {"message": f"{refused.message} Key: {key}."}}
    )
    for fault in (None, 403, 500):
        api.behaviour.fault_when = lambda _, fault=fault: fault
        with pytest.raises(ProviderError) as caught:
            connect(api, api_key=key, attempts=1).embed(TEXTS, input_type="document")
        assert key not in str(caught.value)
