from dataclasses import replace

import pytest

from assets.work.budget import Estimate, check_budget, dollars, estimate, share_of
from resources.core.errors import ConfigurationError
from resources.embedders.openai import OpenAIProvider
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.embedders.voyage import VoyageProvider


def test_an_estimate_is_the_list_price():
    facts = VoyageProvider(api_key="k").facts()
    found = estimate(facts, texts=10, tokens=1_000_000)
    assert found.cost_usd == pytest.approx(0.12)
    half = estimate(replace(facts, price_factor=0.5), texts=10, tokens=1_000_000)
    assert half.cost_usd == pytest.approx(0.06)
    assert str(found) == "10 texts, about 1,000,000 tokens, $0.12"


def test_a_local_model_is_free_and_an_unknown_price_is_not(static_model):
    local = SentenceTransformersProvider(model=static_model).facts()
    assert estimate(local, texts=1, tokens=5).cost_usd == 0
    unknown = OpenAIProvider(api_key="k", model="my-own-model", dimensions=8).facts()
    assert estimate(unknown, texts=1, tokens=5).cost_usd is None


@pytest.mark.parametrize(
    ("wanted", "limits", "message"),
    [
        (Estimate(10, 500, 0.1), {"max_tokens": 499}, r"about 500 tokens, over `max_tokens: 499`"),
        (Estimate(10, 500, 0.1), {"max_cost_usd": 0.09}, r"costs about \$0.1, over .*0.09"),
        (Estimate(10, 500, None), {"max_cost_usd": 9}, "price of m is not known"),
    ],
)
def test_over_the_budget_stops_with_the_figures(wanted, limits, message):
    with pytest.raises(ConfigurationError, match=message):
        check_budget(wanted, model="m", **{"max_tokens": None, "max_cost_usd": None, **limits})


@pytest.mark.parametrize(
    ("wanted", "limits"),
    [
        (Estimate(10, 500, 0.1), {"max_tokens": 500, "max_cost_usd": 0.1}),
        (Estimate(10, 500, 0.0), {"max_cost_usd": 0}),
        (Estimate(0, 0, None), {"max_cost_usd": 0}),
        (Estimate(10, 500, None), {}),
    ],
)
def test_within_the_budget_goes_on(wanted, limits):
    check_budget(wanted, model="m", **{"max_tokens": None, "max_cost_usd": None, **limits})


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, "price not known"), (0, "free"), (0.00314, "$0.0031"), (1234.5, "$1,234.50")],
)
def test_money_reads_well(amount, text):
    assert dollars(amount) == text


def test_shares_of_a_limit_are_the_limit():
    assert share_of(1.0, 7, 0.3) == (7, 0.3)
    assert share_of(0.5, None, None) == (None, None)
    shares = [share_of(tokens / 100, 100, 3.0) for tokens in (10, 30, 60)]
    assert [tokens for tokens, _ in shares] == [10, 30, 60]
    assert sum(cost or 0 for _, cost in shares) == pytest.approx(3.0)
    # What is estimated at the limit exactly is not over it, in no share of it.
    facts = VoyageProvider(api_key="k").facts()
    whole = estimate(facts, texts=7, tokens=700).cost_usd
    for tokens in (100, 233, 367):
        limit, usd = share_of(tokens / 700, 700, whole)
        wanted = estimate(facts, texts=1, tokens=tokens)
        check_budget(wanted, model="m", max_tokens=limit, max_cost_usd=usd)
        more = estimate(facts, texts=1, tokens=tokens + 2)
        with pytest.raises(ConfigurationError, match="over `max_tokens"):
            check_budget(more, model="m", max_tokens=limit, max_cost_usd=None)
