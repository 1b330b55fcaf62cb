"""`embeddings models --for`: what each model would cost, hold and cut here, and how they rank."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.measured import measured_here, yardstick
from resources.models.catalogue import STATUSES, VARIABLE, load_catalogue
from resources.mongodb import embedded
from resources.registry.evaluations import Evaluation, QuerySetFacts
from tests.pipelines.helpers import (
    DOCUMENTS,
    SHOP,
    Place,
    embeddings,
    refuses,
    succeeds,
    write_jsonl,
)

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def document(*arguments: str) -> dict[str, Any]:
    return json.loads(succeeds("models", "--for", SHOP, *arguments, "--json"))


def by_model(*arguments: str) -> dict[str, dict[str, Any]]:
    return {each["model"]: each for each in document(*arguments)["models"]}


def evaluation(
    number: int,
    model: str,
    mean: float,
    *,
    provider: str = "sentence_transformers",
    digest: str = "d1",
    **more: Any,
) -> Evaluation:
    figure = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
    values = {
        "kind": "candidate",
        "at": AT + timedelta(minutes=number),
        "mode": "vector",
        "details": {"sample": {"documents": 2_000}, "corpus": 9_000},
    }
    return Evaluation(
        id=f"e{number}",
        pipeline="shop",
        run="r1",
        space="s",
        model={"provider": provider, "model": model, "dimensions": 384},
        queries=QuerySetFacts(f"queries {digest}", digest, answerable=60),
        measures={"ndcg@10": figure},
        **(values | more),
    )


@pytest.fixture
def measured(place: Place):
    """Notes evaluations, and takes them away again."""
    with open_pipeline(SHOP) as opened:
        evaluations = opened.registry.evaluations
        yield lambda *found: [evaluations.record(each) for each in found]
        opened.client[opened.mongodb.registry]["evaluations"].delete_many({})


def test_every_model_of_the_catalogue_is_there_and_the_pipelines_own(place: Place):
    found = by_model()
    known = {each.model for each in load_catalogue().values() if each.task == "embed"}
    assert found.keys() == known | {"static"}
    assert [name for name, each in found.items() if each["serves"]] == ["static"]
    assert found["static"]["bytes"].keys() == {"64"}


def test_cost_is_the_list_price_of_the_distinct_texts(place: Place):
    twice = [*DOCUMENTS, {**DOCUMENTS[0], "_id": "again"}]
    source = write_jsonl(place.folder / "twice.jsonl", twice)
    config = place.config("twice", source={"origin": {"jsonl": {"path": str(source)}}})
    found = document("-c", config)
    assert found["corpus"] == {
        "documents": 7, "rejected": 0, "rejected_why": "", "whole": True, "chunks": 7,
        "distinct_texts": 6,
        "characters": sum(len(each["text"]) for each in twice),
        "longest_characters": max(len(each["text"]) for each in twice),
        "distinct_texts_are_estimated": False, "lengths_looked_at": 6,
    }  # fmt: skip
    models = {each["model"]: each for each in found["models"]}
    tokens = sum(round(len(each["text"]) / 3) for each in DOCUMENTS)
    large, small, own = (
        models[name] for name in ("voyage-4-large", "text-embedding-3-small", MINILM)
    )
    assert large["tokens"] == small["tokens"] == own["tokens"] == tokens
    assert large["cost_usd"] == pytest.approx(tokens * 0.12 / 1e6)
    assert large["batch_cost_usd"] == pytest.approx(tokens * 0.12 * 0.67 / 1e6)
    assert small["batch_cost_usd"] == pytest.approx(tokens * 0.02 * 0.5 / 1e6)
    assert (own["cost_usd"], own["batch_cost_usd"]) == (0, None)
    assert models["voyage-code-4"]["cost_usd"] is None  # no source names a price
    # As many vectors as chunks, of the width and type that this store would hold: see facts 1.
    assert large["bytes"] == {str(wide): 7 * (wide * 4 + 7) for wide in (1024, 256, 512, 2048)}


def test_the_store_decides_how_large_a_vector_is_and_the_index_which_it_takes(place: Place):
    bits = place.config(
        "bits",
        vector_store={"dtype": "packed_bit", "rescore": "int8"},
        search_index={"similarity": "euclidean"},
    )
    found = by_model("-c", bits)
    assert found["voyage-4"]["bytes"]["1024"] == 6 * (1024 // 8 + 7 + 1024 + 7)
    assert not any(each["refused"] for each in found.values())


def test_a_width_that_no_index_takes_is_refused_and_stands_last(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    models = place.folder / "models.yaml"
    models.write_text("models: {openai/vast: {dimensions: [9000], price: null}}", "utf-8")
    monkeypatch.setenv(VARIABLE, str(models))
    last = document()["models"][-1]
    assert last["model"] == "vast"
    assert last["refused"].startswith("the vectors have 9000 dimensions, an index at most 8192")
    assert f"vast: {last['refused']}" in succeeds("models", "--for", SHOP)


def test_a_model_that_reads_less_than_a_text_stands_behind(place: Place):
    long = [{"_id": "long", "text": "words " * 300}, *DOCUMENTS[:3]]
    source = write_jsonl(place.folder / "long.jsonl", long)
    config = place.config("long", source={"origin": {"jsonl": {"path": str(source)}}})
    found = by_model("-c", config)
    # 1,800 characters are 600 tokens, at three a token.
    assert found[MINILM]["too_long"] == found["BAAI/bge-base-en-v1.5"]["too_long"] == 0.25
    assert found["BAAI/bge-m3"]["too_long"] == found["voyage-4"]["too_long"] == 0
    assert found["BAAI/bge-m3"]["rank"] < found["voyage-4"]["rank"] < found[MINILM]["rank"]
    assert found["static"]["too_long"] is None  # the catalogue does not have it
    assert "25.0%" in succeeds("models", "--for", SHOP, "-c", config)


def test_older_models_stand_behind_with_their_successors_named(place: Place):
    models = document()["models"]
    states = [STATUSES.index(each["status"]) for each in models]
    assert states == sorted(states)
    shown = succeeds("models", "--for", SHOP, "--status", "legacy")
    assert "voyage-3.5 → voyage-4" in shown
    assert "voyage-4-large " not in shown.replace("→ voyage-4-large ", "")


def test_published_scores_order_only_within_one_benchmark(place: Place):
    free = [each for each in document("--local")["models"] if each["status"] == "active"]
    by_benchmark: dict[str, list[float]] = {}
    for each in free:
        if score := each.get("score"):
            by_benchmark.setdefault(score["benchmark"], []).append(score["value"])
    assert len(by_benchmark) > 1
    assert all(values == sorted(values, reverse=True) for values in by_benchmark.values())
    told = [each["score"]["benchmark"] for each in free if each.get("score")]
    assert told == sorted(told, key=list(by_benchmark).index)  # a benchmark at a time


def test_what_was_measured_here_comes_first(place: Place, measured):
    measured(
        evaluation(1, MINILM, 0.41),
        evaluation(2, "intfloat/e5-small-v2", 0.62),
        evaluation(3, "somebody/elses", 0.7),
        # Of other queries, though newer and higher: never ranked against these.
        evaluation(4, "BAAI/bge-m3", 0.99, digest="d2"),
        # Words alone say nothing of a model.
        evaluation(5, "intfloat/e5-base-v2", 0.98, mode="text"),
        # What serves is asked of all documents, candidates of a sample.
        evaluation(6, "static", 0.97, kind="search_quality"),
    )
    found = document()
    first = [each["model"] for each in found["models"]][:3]
    assert first == ["somebody/elses", "intfloat/e5-small-v2", MINILM]
    models = {each["model"]: each for each in found["models"]}
    assert models["BAAI/bge-m3"]["rank"] > 3
    (other,) = models["BAAI/bge-m3"]["measured"]
    assert (other["mean"], other["by"]["queries"], other["ranks"]) == (0.99, "d2", False)
    assert models["intfloat/e5-base-v2"]["measured"] == []
    assert models["static"]["measured"][0]["kind"] == "search_quality"
    assert (
        "the ndcg@10 of 60 queries over a sample of 2,000 of 9,000 documents (queries d1; mode "
        "vector)" in found["rule"]
    )
    assert "figures of other queries or ways of asking rank nothing" in found["rule"]
    shown = succeeds("models", "--for", SHOP)
    assert "0.6200 0.520-0.720 2026-11-26" in shown
    assert "0.9900 0.890-1.090 2026-11-26 ranks nothing" in shown
    assert found["rule"] in shown


def test_filters_hold_for_what_was_measured_too(place: Place, measured):
    measured(evaluation(1, "somebody/elses", 0.7), evaluation(2, "m", 0.7, provider="openai"))
    assert "somebody/elses" not in by_model("--provider", "openai")
    assert "m" not in by_model("--local")


def test_the_yardstick_is_that_of_most_models_and_of_several_the_newest():
    def chosen(*found: Evaluation) -> str | None:
        best = yardstick(measured_here(found), "vector")
        return best and best.queries

    assert chosen() is None
    one, two = evaluation(1, "a", 0.5), evaluation(2, "b", 0.5)
    newer = evaluation(3, "a", 0.5, digest="d2")
    assert chosen(one, newer) == "d2"
    assert chosen(one, two, newer) == "d1"
    assert chosen(one, evaluation(2, "a", 0.1), newer) == "d2"  # one model, measured twice
    for other in (
        {"reranked": "r"},
        {"mode": "hybrid"},
        {"kind": "search_quality"},
        {"details": {"sample": {"documents": 100}, "corpus": 9_000}},
        {"details": {}},
    ):
        assert chosen(one, dataclasses.replace(two, **other), newer) == "d2"
    for other in ({"mode": "hybrid"}, {"reranked": "r"}):  # the pipeline asks otherwise
        assert chosen(one, dataclasses.replace(newer, **other)) == "d1"


def test_why_a_record_cannot_be_embedded_is_said(place: Place):
    source = write_jsonl(place.folder / "mute.jsonl", [*DOCUMENTS, {"_id": "\x1b[31m"}])
    config = place.config("mute", source={"origin": {"jsonl": {"path": str(source)}}})
    corpus = document("-c", config)["corpus"]
    assert (corpus["documents"], corpus["rejected"]) == (6, 1)
    assert corpus["rejected_why"].startswith(f"{source}:7: ")
    shown = succeeds("models", "--for", SHOP, "-c", config)
    assert f"records that cannot be embedded: 1 ({corpus['rejected_why']})" in shown


def test_a_sample_says_that_it_is_one(place: Place):
    assert document("--sample", "6")["corpus"]["whole"]
    found = document("--sample", "4")["corpus"]
    assert (found["documents"], found["whole"]) == (4, False)
    assert "the source has more" in succeeds("models", "--for", SHOP, "--sample", "4")


def test_no_server_is_woken_and_none_is_needed(place: Place):
    embedded.stop(place.folder / "state" / "mongodb")
    found = document()
    assert embedded.running(place.folder / "state" / "mongodb") is None
    assert found["notes"] == [
        "what was measured here is not known: its embedded server is not running; the next run "
        "or search starts it"
    ]
    assert len(found["models"]) > 30
    dead = {"deployment": {"server": {"uri": "mongodb://127.0.0.1:1/"}}, "timeout_seconds": 0.2}
    collection = {"database": "x", "collection": "y"}
    config = place.config("dead", mongodb=dead, source={"origin": {"collection": collection}})
    found = document("-c", config)
    assert [each.split(":")[0] for each in found["notes"]] == [
        "how long its texts are is not known", "what was measured here is not known",
    ]  # fmt: skip
    assert found["corpus"] is None
    assert {each["cost_usd"] for each in found["models"]} == {None}
    assert "voyage-4-large" in succeeds("models", "--for", SHOP, "-c", config)


def test_no_key_and_no_address_is_needed(place: Place):
    config = place.config("keyless", embedder={"provider": {"voyage": {"model": "voyage-4-lite"}}})
    found = by_model("-c", config, "-c", "mongodb/server.yaml")
    assert [name for name, each in found.items() if each["serves"]] == ["voyage-4-lite"]
    same = {name for name, each in found.items() if each["same_space"]}
    assert same == {"voyage-4", "voyage-4-large", "voyage-4-lite", "voyage-4-nano"}
    assert found["voyage-4-lite"]["tokens"]


def test_a_model_that_is_not_here_is_said_and_the_rest_is_told(place: Place):
    away = {"provider": {"sentence_transformers": {"model": "nobody/has-it"}}}
    found = document("-c", place.config("away", embedder=away))
    assert found["notes"][0].startswith("which of them is its own is not known: ")
    assert not any(each["serves"] for each in found["models"])


def test_an_empty_source_has_no_lengths(place: Place):
    source = write_jsonl(place.folder / "none.jsonl", [])
    config = place.config("none", source={"origin": {"jsonl": {"path": str(source)}}})
    found = by_model("-c", config)
    assert {(each["tokens"], each["too_long"]) for each in found.values()} == {(None, None)}
    succeeds("models", "--for", SHOP, "-c", config)


def test_what_cannot_be_is_one_sentence(place: Place, tmp_path):
    gone = place.config("gone", source={"origin": {"jsonl": {"path": str(tmp_path / "gone")}}})
    assert "gone" in refuses("models", "--for", SHOP, "-c", gone)
    assert "there is no pipeline" in refuses("models", "--for", "nobody")


@pytest.mark.parametrize(
    "arguments", [("--for", SHOP, "--rerank"), ("--sample", "3"), ("--for", SHOP, "--sample", "0")]
)
def test_options_that_do_not_go_together(place: Place, arguments: tuple[str, ...]):
    assert embeddings("models", *arguments).exit_code == 2


def test_none_is_like_that(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert "none of the models is like that" in succeeds(
        "models", "--for", SHOP, "--provider", "openai", "--local"
    )
