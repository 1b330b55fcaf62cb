"""Real cross-encoders, built on the spot."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from resources.core.errors import ConfigurationError, ProviderError
from resources.rerankers.base import Reranker, TextReranker
from resources.rerankers.resource import RerankResource
from resources.rerankers.sentence_transformers import SentenceTransformersReranking
from tests.models import build_cross_encoder

QUERY = "my bike tyre keeps losing air"
TEXTS = ["a slow puncture", "the oven will not heat", "how to patch a tube", "rain in the Alps"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cross_encoder(tmp_path_factory.mktemp("models") / "reader")


def opened(model: Path | str, **settings) -> TextReranker:
    settings = {"device": "cpu"} | settings
    provider = SentenceTransformersReranking(model=str(model), **settings)
    reranker: Reranker | None = RerankResource(provider=provider).open()
    assert isinstance(reranker, TextReranker)
    return reranker


def test_scores_are_those_of_the_model_in_the_order_of_the_texts(model):
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(model), device="cpu").predict([(QUERY, text) for text in TEXTS])
    ranking = opened(model).rerank(QUERY, TEXTS)
    assert ranking.scores == pytest.approx([float(score) for score in expected], abs=1e-6)
    assert [TEXTS[at] for at in ranking.order()] == sorted(
        TEXTS, key=lambda text: -expected[TEXTS.index(text)]
    )
    assert not ranking.flat
    assert not ranking.notes
    assert ranking.seconds > 0


def test_a_text_has_the_same_score_in_any_company(model):
    alone = [opened(model).rerank(QUERY, [text]).scores[0] for text in TEXTS]
    for size in (1, 3, 32):
        many = opened(model, batch_size=size).rerank(QUERY, [*TEXTS, "word " * 30])
        assert many.scores[:-1] == pytest.approx(alone, abs=1e-5)


def test_texts_that_are_none_or_empty_or_too_long(model):
    ranking = opened(model).rerank(
        QUERY, [None, "word " * 10_000, "", TEXTS[0], "\ud800", "🚲" * 9]
    )
    assert [score is None for score in ranking.scores] == [True, False, True, False, False, False]
    assert ranking.order()[-2:] == [0, 2]
    assert opened(model).rerank(QUERY, []).order() == []
    assert opened(model).rerank("word " * 10_000, TEXTS).order()


def test_the_model_is_loaded_once_and_many_threads_ask_it(model, monkeypatch):
    loads = []
    load = SentenceTransformersReranking.load
    monkeypatch.setattr(
        SentenceTransformersReranking, "load", lambda *a: loads.append(1) or load(*a)
    )
    reranker = opened(model)
    expected = opened(model).rerank(QUERY, TEXTS).scores
    loads.clear()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: reranker.rerank(QUERY, TEXTS).scores, range(32)))
    assert loads == [1]
    assert all(scores == pytest.approx(expected, abs=1e-6) for scores in found)
    reranker.close()
    assert opened(model).rerank(QUERY, TEXTS).scores == pytest.approx(expected, abs=1e-6)


def test_prepare_loads_it_before_the_first_search(model, monkeypatch):
    reranker = opened(model)
    reranker.prepare()
    monkeypatch.setattr(
        SentenceTransformersReranking, "load", lambda *_: pytest.fail("loaded again")
    )
    assert reranker.rerank(QUERY, TEXTS).order()


def test_a_model_that_says_the_same_of_all_is_noticed(tmp_path):
    constant = build_cross_encoder(tmp_path / "constant", constant=True)
    ranking = opened(constant).rerank(QUERY, TEXTS)
    assert ranking.flat
    assert ranking.order() == [0, 1, 2, 3]
    (note,) = ranking.notes
    assert "gave all 4 texts the score 0.5987, which ranks nothing" in note


def damaged(model: Path, folder: Path, name: str, change) -> Path:
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights[name] = change(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_model_that_gives_no_numbers_is_said_to_be_damaged(model, tmp_path):
    broken = damaged(model, tmp_path / "nan", "classifier.bias", lambda b: b * float("nan"))
    with pytest.raises(ProviderError, match="gives no numbers: the model is damaged"):
        opened(broken).rerank(QUERY, TEXTS)


def test_one_text_that_breaks_the_model_costs_no_other(model, tmp_path):
    from transformers import AutoTokenizer

    (token,) = AutoTokenizer.from_pretrained(str(model)).convert_tokens_to_ids(["oven"])

    def poisoned(embeddings):
        embeddings = embeddings.clone()
        embeddings[token] = float("nan")
        return embeddings

    name = "bert.embeddings.word_embeddings.weight"
    broken = damaged(model, tmp_path / "one", name, poisoned)
    ranking = opened(broken).rerank(QUERY, TEXTS)
    assert [score is None for score in ranking.scores] == [False, True, False, False]
    assert ranking.order()[-1] == 1
    assert "gave 1 of 4 texts no score (it is not a number): they stand last" in ranking.notes[0]


def test_what_is_no_cross_encoder_is_refused_before_it_is_loaded(model, tmp_path):
    from transformers import AutoModel

    with pytest.raises(ConfigurationError, match="a SentenceTransformer, which embeds"):
        opened("sentence-transformers/all-MiniLM-L6-v2")
    headless = tmp_path / "headless"
    AutoModel.from_pretrained(str(model)).save_pretrained(str(headless))
    with pytest.raises(ConfigurationError, match="BertModel, which has no head that gives a score"):
        opened(headless)


def test_several_labels_are_no_order(tmp_path):
    with pytest.raises(ConfigurationError, match="gives 3 numbers to each text"):
        opened(build_cross_encoder(tmp_path / "three", labels=3)).prepare()


def test_a_model_as_its_library_saves_it(model, tmp_path):
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(model)).save(str(tmp_path / "saved"))
    expected = opened(model).rerank(QUERY, TEXTS).scores
    found = opened(tmp_path / "saved").rerank(QUERY, TEXTS).scores
    assert found == pytest.approx(expected, abs=1e-6)


def test_max_tokens_cuts_what_is_read(model):
    reranker = opened(model, max_tokens=16)
    long = TEXTS[0] + " and then" * 20
    assert reranker.rerank(QUERY, [long]).scores == pytest.approx(
        reranker.rerank(QUERY, [long + " more"]).scores, abs=1e-6
    )
    with pytest.raises(ConfigurationError, match=r"has positions for 64 tokens: `max_tokens: 65`"):
        opened(model, max_tokens=65).prepare()


def test_a_tokenizer_that_knows_no_limit_reads_no_further_than_the_model(model, tmp_path):
    from transformers import AutoTokenizer

    boundless = shutil.copytree(model, tmp_path / "boundless")
    tokenizer = AutoTokenizer.from_pretrained(str(model), model_max_length=10**30)
    tokenizer.save_pretrained(str(boundless))
    assert opened(boundless).rerank(QUERY, ["word " * 500]).scores[0] is not None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"device": "teapot"}, "cannot be loaded from folder on device 'teapot'"),
        ({"backend": "onnx"}, "backend 'onnx' is not installed"),
    ],
)
def test_what_this_machine_cannot_do(model, settings, sentence):
    with pytest.raises(ProviderError, match=sentence):
        opened(model, **settings).prepare()


def test_a_model_that_is_nowhere(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ProviderError, match="neither a folder"):
        opened("no such model!")


def test_a_folder_has_no_revision(model):
    with pytest.raises(ConfigurationError, match="has no revisions"):
        opened(model, revision="main")


def test_the_check_loads_it_and_names_it(model):
    provider = SentenceTransformersReranking(model=str(model), device="cpu")
    assert provider.check().startswith("reader from folder, revision ")
