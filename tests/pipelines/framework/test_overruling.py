"""A fragment that takes back what an earlier file of the same pipeline chose is told of."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.framework.overruling import Overruled
from pipelines.framework.pipeline import EmbeddingPipeline

VOYAGE = {"embedder": {"provider": {"voyage": {"model": "voyage-4"}}}}


def write(folder: Path, name: str, resources: dict) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    content = {"resources": {key: {"config": value} for key, value in resources.items()}}
    path.write_text(yaml.safe_dump(content), "utf-8")
    return str(path)


def overruled(*configs: str) -> list[Overruled]:
    return EmbeddingPipeline(name="p", configs=configs).overruled()


def test_a_provider_of_ones_own_that_loses_to_a_fragment(tmp_path):
    own = write(tmp_path, "shop.yaml", VOYAGE)
    (found,) = overruled(own, "embedder/minilm.yaml")
    assert found == Overruled(
        "embedder.provider", own, "embedder/minilm.yaml", ("voyage", "sentence_transformers")
    )
    assert str(found) == (
        f"{own} chooses `embedder.provider` voyage, and embedder/minilm.yaml, named after it in "
        "`configs`, chooses sentence_transformers and wins: name embedder/minilm.yaml before "
        f"{own}, or take one of the two out"
    )


def test_the_way_out_works(tmp_path):
    assert overruled("embedder/minilm.yaml", write(tmp_path, "shop.yaml", VOYAGE)) == []


def test_a_setting_within_the_same_provider(tmp_path):
    own = write(tmp_path, "shop.yaml", VOYAGE)
    (found,) = overruled(own, "embedder/voyage.yaml")
    assert (found.key, found.choices) == ("embedder.provider.voyage.model", ())
    assert "chooses another and wins" in str(found)


def test_what_says_the_same_or_something_else_overrides_nothing(tmp_path):
    same = write(tmp_path, "same.yaml", {"embedder": {"provider": {"voyage": {
        "model": "voyage-4-large", "dimensions": 1024}}, "max_tokens": 5}})  # fmt: skip
    assert overruled(same, "embedder/voyage.yaml", "mongodb/embedded.yaml") == []


def test_files_that_are_no_fragments_have_the_last_word_on_purpose(tmp_path):
    base = write(tmp_path, "base.yaml", VOYAGE)
    assert overruled(base, write(tmp_path, "prod.yaml", {"embedder": {"provider": {
        "openai": {"model": "text-embedding-3-small"}}}})) == []  # fmt: skip


def test_neither_dash_c_nor_the_environment_is_told_of(tmp_path, monkeypatch):
    own = write(tmp_path, "shop.yaml", VOYAGE)
    monkeypatch.setenv("EMBEDDINGS_CONFIGS", "embedder/minilm.yaml")
    pipeline = EmbeddingPipeline(name="p", configs=[own])
    assert pipeline.overruled() == []
    assert "sentence_transformers" in pipeline.values()["embedder"]["provider"]


def test_values_are_not_told(tmp_path):
    own = write(tmp_path, "shop.yaml", {"batch_store": {"url": "s3://sesame/own"}})
    fragment = write(tmp_path, "batch_store/s3.yaml", {"batch_store": {"url": "s3://hush/x"}})
    (found,) = overruled(own, fragment)
    assert found.key == "batch_store.url"
    assert "sesame" not in str(found)
    assert "hush" not in str(found)


MODELS = st.sampled_from(["voyage-4", "voyage-4-lite"])
PROVIDERS = st.one_of(
    st.fixed_dictionaries({"voyage": st.fixed_dictionaries({}, optional={"model": MODELS})}),
    st.fixed_dictionaries({"openai": st.fixed_dictionaries({})}),
)
SETTINGS = st.fixed_dictionaries(
    {}, optional={"provider": PROVIDERS, "max_tokens": st.sampled_from([1, 2])}
)


@given(own=SETTINGS, fragment=SETTINGS)
def test_exactly_what_the_earlier_file_loses_is_told(
    tmp_path_factory: pytest.TempPathFactory, own: dict, fragment: dict
):
    folder = tmp_path_factory.getbasetemp()
    first = write(folder, "own.yaml", {"embedder": own})
    second = write(folder, "embedder/f.yaml", {"embedder": fragment})
    pipeline = EmbeddingPipeline(name="p", configs=[first, second])
    both = pipeline.values()["embedder"]
    lost = []
    if own.get("max_tokens") not in (None, both.get("max_tokens")):
        lost.append("embedder.max_tokens")
    if "provider" in own:
        ((kind, settings),) = own["provider"].items()
        if kind not in both["provider"]:
            lost.append("embedder.provider")
        elif settings.get("model") not in (None, both["provider"][kind].get("model")):
            lost.append(f"embedder.provider.{kind}.model")
    assert sorted(found.key for found in pipeline.overruled()) == sorted(lost)
    if lost:
        assert {found.chosen_by for found in pipeline.overruled()} == {first}
