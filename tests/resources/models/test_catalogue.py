"""The catalogue of models: the packaged file, and the user's own on top of it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.models.catalogue import (
    PACKAGED,
    VARIABLE,
    check_task,
    cost_usd,
    family,
    find,
    load_catalogue,
    usd_per_million,
)
from resources.models.kinds import EMBEDDERS

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(autouse=True)
def _no_file_of_this_machine(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes the user's file and names it in the environment."""

    def write(text: str) -> Path:
        path = tmp_path / "models.yaml"
        path.write_text(text, "utf-8")
        monkeypatch.setenv(VARIABLE, str(path))
        return path

    return write


def known(provider: str, model: str) -> Any:
    entry = find(provider, model)
    assert entry is not None
    return entry


def refusal(own, text: str) -> str:
    path = own(text)
    with pytest.raises(ConfigurationError) as raised:
        load_catalogue()
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path)).lstrip(": ")


def test_the_packaged_file_loads_strictly_and_completely():
    entries = yaml.safe_load(PACKAGED.read_text("utf-8"))["models"]
    assert [entry.key for entry in load_catalogue().values()] == list(entries)
    assert len(re.findall(r"^  \w+/\S+:$", PACKAGED.read_text("utf-8"), re.M)) == len(entries)
    assert {entry.provider for entry in load_catalogue().values()} == set(EMBEDDERS.built_in)
    assert load_catalogue() is load_catalogue()


@pytest.mark.parametrize("entry", load_catalogue().values(), ids=lambda entry: entry.key)
def test_every_entry_has_sources_and_no_figure_is_without_one(entry):
    assert entry.sources
    if entry.price:
        assert entry.price.date
        assert entry.price.source
        assert not entry.local
    if entry.score:
        assert entry.score.source
        assert entry.score.benchmark in {"BEIR", "MTEB", "RTEB"}
    if entry.local:
        assert entry.size
    if entry.successor:
        assert entry.status != "active"
    if entry.prompts:
        for prompt in filter(None, (entry.prompts.document, entry.prompts.query)):
            assert prompt.endswith(": ")


def test_voyage():
    large = known("voyage", "voyage-4-large")
    assert (large.price.usd_per_million, large.free_tokens) == (0.12, 200_000_000)
    assert large.dimensions == [1024, 256, 512, 2048]
    assert (large.max_tokens, large.max_texts, large.max_request_tokens) == (32_000, 1000, 120_000)
    assert (large.rate_limits.rpm, large.rate_limits.tpm) == (2000, 3_000_000)
    superseded = known("voyage", "voyage-3-large")
    assert (superseded.status, superseded.successor) == ("legacy", "voyage-4-large")
    assert superseded.free_tokens == 0
    assert known("voyage", "voyage-code-4").price is None
    nano = known("voyage", "voyage-4-nano")
    assert nano.local
    assert nano.dimensions[0] == 2048


def test_voyage_successors_are_in_the_catalogue_and_active():
    for entry in load_catalogue().values():
        if entry.provider == "voyage" and entry.successor:
            successor = load_catalogue()["voyage", entry.successor]
            assert (successor.status, successor.task) == ("active", entry.task)


def test_models_that_rerank_are_told_from_those_that_embed():
    assert find("voyage", "rerank-2.5") is None, "whoever embeds does not find it"
    lite = find("voyage", "rerank-2.5-lite", "rerank")
    assert lite is not None
    assert (lite.usd_per_million, lite.max_texts, lite.dimensions) == (0.02, 1000, [])
    assert usd_per_million("voyage", "rerank-2.5", "rerank") == 0.05
    assert usd_per_million("voyage", "rerank-3", "rerank") is None, "no source names it"
    assert find("voyage", "voyage-4", "rerank") is None
    check_task("voyage", "unheard-of", "rerank")
    with pytest.raises(ConfigurationError, match=r"rerank-2\.5 reranks, and does not embed"):
        check_task("voyage", "rerank-2.5", "embed")
    with pytest.raises(ConfigurationError, match="voyage-4 embeds, and does not rerank"):
        check_task("voyage", "voyage-4", "rerank")


def test_a_model_of_the_users_own_that_reranks(own):
    own("models: {voyage/rerank-9: {task: rerank, max_texts: 10}}")
    assert find("voyage", "rerank-9", "rerank")
    for entry in ("dimensions: [8]", "prompts: {query: q}"):
        said = refusal(own, f"models: {{voyage/rerank-9: {{task: rerank, {entry}}}}}")
        assert said == "voyage/rerank-9: `task: rerank` has neither `dimensions` nor `prompts`"


def test_what_is_not_in_it():
    assert find("voyage", "text-embedding-3-small") is None
    assert find("openai", "a-model-of-tomorrow") is None


def test_families():
    for model in ("voyage-4-large", "voyage-4", "voyage-4-lite", "voyage-4-nano"):
        assert family("voyage", model) == "voyage-4"
    for (provider, model), entry in load_catalogue().items():
        assert entry.space == ("voyage-4" if model.startswith("voyage-4") else model)
        assert family(provider, model) == entry.space
    assert family("voyage", "voyage-code-4") == "voyage-code-4"
    assert family("openai", "text-embedding-3-large") == "text-embedding-3-large"
    assert family("openai", "a-model-of-tomorrow") == "a-model-of-tomorrow"


def test_openai():
    widths = {
        "text-embedding-3-small": (1536, True),
        "text-embedding-3-large": (3072, True),
        "text-embedding-ada-002": (1536, False),
    }
    for model, (width, shrinkable) in widths.items():
        entry = known("openai", model)
        assert (entry.dimensions, entry.shrinkable) == ([width], shrinkable)
        assert (entry.max_tokens, entry.max_texts) == (8192, 2048)
        assert entry.max_request_tokens == 300_000


def test_the_packaged_model_is_as_the_catalogue_says():
    folder, entry = SentenceTransformersProvider(model=MINILM).find(), known(*_st(MINILM))
    weights = (folder.path / "model.safetensors").stat().st_size
    assert entry.dimensions == [folder.dimensions]
    assert entry.size.gigabytes == pytest.approx(weights / 1e9, abs=0.005)
    assert entry.prompts is None


def _st(model: str) -> tuple[str, str]:
    return "sentence_transformers", model


def test_prompts_of_local_models():
    for model in ("nomic-ai/nomic-embed-text-v1", "nomic-ai/nomic-embed-text-v1.5"):
        nomic = known(*_st(model))
        assert nomic.prompts.document == "search_document: "
        assert nomic.prompts.query == "search_query: "
        assert nomic.prompts_required
        assert nomic.trust_remote_code
    e5 = known(*_st("intfloat/multilingual-e5-base"))
    assert (e5.prompts.document, e5.prompts.query) == ("passage: ", "query: ")
    assert e5.prompts_required
    bge = known(*_st("BAAI/bge-base-en-v1.5"))
    assert bge.prompts.document == ""
    assert bge.prompts.query == "Represent this sentence for searching relevant passages: "
    assert not bge.prompts_required


def test_the_example_configs_say_what_the_catalogue_says():
    for file in sorted((CODE_ROOT / "configs" / "embedder").glob("*.yaml")):
        config = yaml.safe_load(file.read_text("utf-8"))["resources"]["embedder"]["config"]
        ((provider, settings),) = config["provider"].items()
        entry = known(provider, settings["model"])
        assert entry.status == "active"
        if entry.prompts_required:
            assert settings["document_prompt"] == entry.prompts.document
            assert settings["query_prompt"] == entry.prompts.query
        assert settings.get("trust_remote_code", False) == entry.trust_remote_code


def test_costs():
    assert cost_usd("voyage", "voyage-4-large", 2_000_000) == pytest.approx(0.24)
    assert cost_usd("openai", "text-embedding-3-small", 500_000) == pytest.approx(0.01)
    assert cost_usd("voyage", "voyage-code-4", 1) is None
    assert cost_usd("openai", "a-model-of-tomorrow", 1) is None
    assert cost_usd("voyage", "voyage-4-nano", 10**9) == 0
    assert cost_usd("sentence_transformers", "a/folder/of/mine", 10**9) == 0


def test_a_file_of_the_users_adds_a_model(own):
    own("""
models:
  openai/nomic-embed-text:
    dimensions: [768]
    local: true
    sources: [our own Ollama]
""")
    entry = known("openai", "nomic-embed-text")
    assert (entry.space, entry.status, entry.max_tokens) == ("nomic-embed-text", "active", None)
    assert cost_usd("openai", "nomic-embed-text", 1000) == 0
    assert find("voyage", "voyage-4-large") is not None
    assert list(load_catalogue())[-1] == ("openai", "nomic-embed-text")


def test_a_file_of_the_users_overrides_key_by_key(own):
    before = known("voyage", "voyage-4-large")
    own("""
models:
  voyage/voyage-4-large:
    price: {usd_per_million: 0.09, date: 2026-12-01}
    rate_limits: {tpm: 9000000}
    free_tokens: null
""")
    after = known("voyage", "voyage-4-large")
    assert (after.rate_limits.rpm, after.rate_limits.tpm) == (2000, 9_000_000)
    assert after.free_tokens is None
    assert (after.price.usd_per_million, after.price.date) == (0.09, "2026-12-01")
    # The packaged source says nothing about the user's price.
    assert after.price.source is None
    assert after.dimensions == before.dimensions
    assert next(iter(load_catalogue())) == ("voyage", "voyage-4-large")


def test_a_price_confirmed_later_keeps_its_figure(own):
    own("models: {openai/text-embedding-3-small: {price: {date: 2027-01}}}")
    price = known("openai", "text-embedding-3-small").price
    assert (price.usd_per_million, price.date) == (0.02, "2027-01")
    assert price.source


def test_an_edited_file_is_read_again(own):
    path = own("models: {voyage/voyage-code-4: {free_tokens: 5}}")
    assert known("voyage", "voyage-code-4").free_tokens == 5
    own("models: {voyage/voyage-code-4: {free_tokens: 50}}")
    assert known("voyage", "voyage-code-4").free_tokens == 50
    assert load_catalogue() is load_catalogue(path)


def test_the_argument_goes_before_the_environment(own, tmp_path):
    own("models: {voyage/voyage-code-4: {free_tokens: 5}}")
    other = tmp_path / "other.yaml"
    other.write_text("models:\n", "utf-8")
    assert load_catalogue(other) == load_catalogue(PACKAGED)
    assert load_catalogue(other)["voyage", "voyage-code-4"].free_tokens is None


def test_a_file_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "nowhere/models.yaml")
    expected = f"EMBEDDINGS_MODELS names nowhere/models.yaml, and there is no file {CODE_ROOT}"
    with pytest.raises(ConfigurationError, match=expected):
        load_catalogue()
    with pytest.raises(ConfigurationError, match="the models file is"):
        load_catalogue(tmp_path / "models.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [", "this is not YAML"),
        ("- voyage-4", "a models file has one key, `models:`"),
        ("voyage/voyage-4: {}", "a models file has one key, `models:`"),
        ("models: [voyage-4]", "a mapping belongs here"),
        ("models: {voyage-4: {}}", "voyage-4: an entry is named provider/model"),
        ("models: {cohere/embed-v4: {}}", "one of voyage, openai, sentence_transformers"),
        ("models: {voyage/voyage-4: 0.12}", "voyage/voyage-4: a mapping belongs here, not 0.12"),
        ("models: {voyage/voyage-5: {}}", "voyage/voyage-5: dimensions is missing"),
        ("models: {voyage/voyage-4: {prize: 1}}", "prize: there is no such key"),
        ("models: {voyage/voyage-4: {price: 1}}", "price: a mapping belongs here, not 1"),
        ("models: {voyage/voyage-4: {price: {usd_per_million: 1}}}", "price.date is missing"),
        (
            'models: {voyage/voyage-4: {price: {usd_per_million: "1", date: 2026-12}}}',
            "voyage/voyage-4: price.usd_per_million: input should be a valid number, not '1'",
        ),
        (
            "models: {voyage/voyage-4: {price: {usd_per_million: 1, date: today}}}",
            "price.date: string should match",
        ),
        ("models: {voyage/voyage-4: {status: old}}", "status: input should be 'active', 'legacy'"),
        ("models: {voyage/voyage-4: {dimensions: []}}", "dimensions: "),
        ("models: {voyage/voyage-4: {dimensions: [0]}}", "dimensions.0: "),
        ("models: {voyage/voyage-4: {dimensions: [8, 8]}}", "names a width twice"),
        ("models: {voyage/voyage-4: {prompts_required: true}}", "`prompts_required` needs"),
        ("models: {voyage/voyage-4: {model: voyage-5}}", "the entry's name says this already"),
        (f"models: {{sentence_transformers/{MINILM}: {{local: false}}}}", "`local` is always true"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(own, text, said):
    assert said in refusal(own, text)


def test_a_line_number_where_it_is_not_yaml(own):
    assert refusal(own, "models:\n  voyage/voyage-4: {a: 1\n").startswith(", line 3: this is not")


def test_the_catalogue_loads_without_heavy_packages():
    code = """
import sys, resources.models.catalogue as catalogue
catalogue.load_catalogue()
heavy = {"torch", "sentence_transformers", "voyageai", "openai", "numpy", "dagster"}
sys.exit(f"loaded: {heavy & set(sys.modules)}" if heavy & set(sys.modules) else 0)
"""
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    subprocess.run([sys.executable, "-c", code], cwd=CODE_ROOT, env=clean, check=True)
