"""A refused request is halved down to the texts at fault, unless the settings are."""

import numpy as np
import pytest

from resources.core.errors import ProviderError
from resources.embedders.base import Refusal
from tests.resources.embedders.test_remote import expected

TEXTS = [f"text {number}" for number in range(1000)]


@pytest.mark.parametrize("at", [0, 437, 999])
def test_one_poisonous_text_of_a_thousand_is_refused_alone(api, connect, at: int):
    api.behaviour.poison = ["virus"]
    texts = [*TEXTS[:at], "a virus", *TEXTS[at + 1 :]]
    reply = connect(api).embed(texts, input_type="document")
    assert dict(reply.refused) == {at: Refusal("The input was rejected (HTTP 400)")}
    assert not reply.unfinished
    rest = [row for row in range(1000) if row != at]
    assert np.array_equal(reply.vectors[rest], expected(api, [texts[row] for row in rest]))
    del (served := api.texts_served)["a"]  # which tells a bad text from bad settings
    assert served == dict.fromkeys((texts[row] for row in rest), 1)
    assert len(api.requests) <= 2 * 10 + 3
    assert reply.usage.requests == len(api.requests)
    assert reply.usage.retries == 0, "what is refused is never sent again as it is"


def test_texts_that_are_all_refused_are_each_given_a_reason(api, connect):
    api.behaviour.poison = ["text"]
    reply = connect(api).embed(TEXTS[:20], input_type="document")
    assert reply.refused.keys() == set(range(20))


def test_a_request_with_too_many_tokens_is_split(api, connect):
    """The estimate is off by six: what looks like 80,000 tokens is 480,000."""
    api.behaviour.characters_per_token = 0.5
    texts = [f"{number:0600d}" for number in range(400)]
    reply = connect(api).embed(texts, input_type="document")
    assert not reply.refused
    assert np.array_equal(reply.vectors, expected(api, texts))
    assert any(request.status == 400 for request in api.requests)
    assert len(api.requests) <= 10
    del (served := api.texts_served)["a"]
    assert served == dict.fromkeys(texts, 1)


def test_a_text_too_long_for_the_model_is_refused_alone(api, connect):
    # fits a request by its estimate, and no model by the provider's count
    api.behaviour.characters_per_token = 1
    texts = ["short", "x" * 90_000, "short too"]
    reply = connect(api).embed(texts, input_type="document")
    assert list(reply.refused) == [1]
    assert "token" in reply.refused[1].reason


def test_settings_that_are_refused_for_every_text_are_one_error(api, connect):
    api.behaviour.latency = 0.01
    api.behaviour.fault_when = lambda _: 400
    embedder = connect(api, max_texts=10, concurrency=4)
    with pytest.raises(ProviderError, match=r"it refuses every text: Scripted fault 400"):
        embedder.embed(TEXTS, input_type="document")
    assert len(api.requests) <= 12, "OpenAI is asked for floats once"


@pytest.mark.parametrize("options", [{}, {"max_texts": 10}])
def test_a_wrong_model_is_one_error(api, connect, options):
    embedder = connect(api, model="model-9", concurrency=4, **options)
    with pytest.raises(ProviderError, match=r"model-9.*(not supported|does not exist)"):
        embedder.embed(TEXTS, input_type="document")
    assert len(api.requests) <= 12
