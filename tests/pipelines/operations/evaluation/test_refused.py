"""What cannot be compared is one sentence, before anything is paid for; and nothing is held."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from assets.work.evaluating.candidates import Asked
from pipelines.operations.evaluation.comparing import evaluate
from pipelines.operations.evaluation.recorded import export_recorded
from resources.core.errors import ConfigurationError, EmbeddingsError, EvaluationError
from tests.pipelines.helpers import write_config
from tests.pipelines.operations.evaluation.conftest import write_paid
from tests.providers.server import ProviderServer
from tests.servers import free_port
from tests.workshop import Workshop

CANDIDATES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"embedder": {"providers": 1}}, "providers"),
    "other source": ({"source": {"id_field": "other"}}, "changes `source.id_field`"),
    "no key": ({"embedder": {"provider": {"voyage": {}}}}, "VOYAGE_API_KEY"),
    "no model": (
        {"embedder": {"provider": {"sentence_transformers": {"model": "./nowhere"}}}},
        "nowhere",
    ),
    "no reranker's key": ({"rerank": {"provider": {"voyage": {}}}}, "VOYAGE_API_KEY"),
    "no such reranker": (
        {"rerank": {"provider": {"sentence_transformers": {"model": "./nowhere"}}}},
        "nowhere",
    ),
    "not indexed so": ({"vector_store": {"dtype": "packed_bit"}}, "euclidean"),
    "no filter field": (
        {"search_index": {"filter_fields": []}},
        "judged query q0 cannot be asked of candidate",
    ),
}
"""What is wrong with a candidate, and what the sentence says beside its name."""


def refused(shop: Workshop, server: ProviderServer, call: Callable[[], object]) -> str:
    """The sentence; nothing was asked of a provider, and nothing noted."""
    with pytest.raises(EmbeddingsError) as caught:
        call()
    assert server.calls == []
    assert shop.client[shop.database].list_collection_names() == []
    assert not list((shop.folder / "batch_store").rglob("*.parquet"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("what", CANDIDATES)
def test_a_candidate_that_does_not_fit_costs_those_before_it_nothing(
    shop: Workshop,
    paid: str,
    openai_api: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
):
    monkeypatch.delenv("VOYAGE_API_KEY", raising=False)
    settings, said = CANDIDATES[what]
    wrong = write_config(shop.folder / "wrong.yaml", **settings)
    sentence = refused(shop, openai_api, lambda: evaluate(shop.pipeline, [paid, wrong]))
    assert said in sentence
    assert "wrong.yaml" in sentence


def test_a_reranker_out_of_reach_costs_no_embeddings(
    shop: Workshop, paid: str, openai_api: ProviderServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VOYAGE_API_KEY", "key")
    nobody = {"base_url": f"http://127.0.0.1:{free_port()}/v1", "attempts": 1}
    far = write_config(shop.folder / "far.yaml", rerank={"provider": {"voyage": nobody}})
    with pytest.raises(EmbeddingsError, match=r"^candidate .*far\.yaml: "):
        evaluate(shop.pipeline, [paid, far])
    assert openai_api.calls == []


def test_a_model_that_the_provider_does_not_have_costs_no_documents_of_another(
    shop: Workshop, paid: str, openai_api: ProviderServer
):
    gone = write_paid(shop, openai_api, model="nowhere")
    with pytest.raises(EmbeddingsError, match="nowhere"):
        evaluate(shop.pipeline, [paid, gone])
    assert not [text for text in openai_api.texts_billed if text.startswith("The ")]


def test_a_file_is_no_folder_for_runs(shop: Workshop, paid: str, openai_api: ProviderServer):
    said = refused(shop, openai_api, lambda: evaluate(shop.pipeline, [paid], export=shop.source))
    assert "name a folder" in said


@pytest.mark.parametrize(
    "numbers",
    [{"size": 0}, {"keep_days": math.nan}, {"keep_days": 1e9}, {"max_cost_usd": math.nan}],
)
def test_a_number_that_cannot_be_is_refused(numbers: dict[str, Any]):
    with pytest.raises(ConfigurationError):
        Asked(**numbers)


def test_what_was_measured_is_not_exported_into_a_file(shop: Workshop):
    with pytest.raises(EvaluationError):
        export_recorded(shop.pipeline, shop.source)
