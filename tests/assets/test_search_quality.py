"""How good searches are: measured on a pipeline's own judged queries, through whole runs."""

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest

from assets.about import ASSETS
from assets.quality_checks import no_worse_than_before
from assets.report import quality
from assets.work.opened import Opened
from assets.work.quality import Measured, measure, measured, measuring, vectors
from assets.work.searching import following
from pipelines.cli.run import quality as said_of
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.outcome import quality as as_json
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.evaluation.recorded import accept, export_recorded
from pipelines.operations.search import open_searcher
from resources.batch_store.files import Files
from resources.core.errors import ConfigurationError, EvaluationError
from resources.core.lane import Lane
from resources.embedders.sentence_transformers import SentenceTransformersEmbedder
from resources.evaluation.judged import digest
from resources.evaluation.measures import per_query
from resources.evaluation.rankings import Ranking
from resources.registry.evaluations import Evaluation
from resources.sources.records import RejectedRecord
from tests.models import build_static_model
from tests.search_node import search_node
from tests.workshop import Workshop

WORDS = ("sea", "storm", "bread", "forest", "king", "lamp", "glass", "river", "snow", "wolf")


def document(number: int) -> dict[str, Any]:
    """A text of a few words, which other texts share in part."""
    some = [WORDS[(number * step + shift) % 10] for step, shift in ((1, 0), (5, 3), (7, number))]
    text = f"{' '.join(some)} number{number}"
    return {"_id": number, "text": text, "kind": "even" if number % 4 == 0 else "odd"}


DOCUMENTS = [document(number) for number in range(40)]
QUERIES = [
    {
        "id": f"q{n}",
        "query": f"{DOCUMENTS[n]['text'].split()[0]} number{n}",
        "relevant": [{"id": n, "grade": 2}, (n + 10) % 40],
    }
    for n in range(0, 30, 2)
] + [
    {"id": "gone", "query": "lamp in the snow of number400", "relevant": [400, 3]},
    {"id": "nothing", "query": "the price of tea", "relevant": []},
]


def write_queries(folder: Path, queries: list[dict[str, Any]]) -> dict[str, Any]:
    """As the setting that reads them."""
    path = folder / f"queries-{secrets.token_hex(4)}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in queries), "utf-8")
    return {"queries": {"jsonl": {"path": str(path)}}}


def make(folder: Path, uri: str, model: str, **settings: Any) -> Workshop:
    made = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", model)
    made.write(DOCUMENTS)
    made.configure({"evaluation": {**write_queries(folder, QUERIES), **settings}})
    return made


@pytest.fixture(scope="module")
def shop(tmp_path_factory, static_model: str, _servers: Any) -> Iterator[Workshop]:
    """A pipeline whose index stands, and whose searches were measured once."""
    folder = tmp_path_factory.mktemp("quality")
    made = make(folder, _servers.uri("mongod"), static_model, segments=["kind"], min_queries=5)
    made.first = made.run()  # type: ignore[attr-defined]
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.fixture
def o(shop: Workshop) -> Iterator[Opened]:
    with open_pipeline(shop.pipeline, run="a test") as opened:
        yield opened


def numbers(found: Measured) -> dict[str, Any]:
    """All that must be the same to the last digit."""
    entry = found.evaluation
    kept = {name: entry.details[name] for name in entry.details if name != "worse"}
    return {
        "measures": entry.measures,
        "of what is stored": entry.measures_of_stored,
        "queries": entry.queries,
        "bytes": entry.bytes,
        **kept,
    }


def forget(o: Opened, *, queries: bool = False) -> None:
    """What was measured; and what was embedded for it."""
    for each in o.registry.evaluations.history(o.name):
        o.batches.rankings.remove(o.name, each.id)
    o.client[o.mongodb.registry]["evaluations"].delete_many({})
    if queries:
        o.batches._files.remove("queries", recursive=True)
        o.batches.queries._places.clear()


def test_a_run_measures_what_it_has_indexed(shop):
    run = shop.first
    assert run.success, run.failures
    found = run.search_quality
    assert found["queries"] == 16
    assert found["queries without answer"] == 1
    for name in ("ndcg@10", "recall@10", "recall@100", "mrr@10", "success@1"):
        assert isinstance(found[name], float)
        assert found[f"{name} low"] <= found[name] <= found[f"{name} high"]
    assert 0.5 < found["ndcg@10"] < 1
    # Of the one query that asks for what is not there, half is lost where it counts as missed.
    assert found["recall@100"] == pytest.approx(1 - 0.5 / 16)
    assert found["recall@100 of what is stored"] == 1
    assert found["relevant documents not in the store"] == 1
    assert found["overlap@10 with exact"] == 1
    assert found["best score, answerable"] > found["best score, without answer"]
    for name in ("latency p50 (ms)", "latency embedded p95 (ms)", "bytes per vector"):
        assert found[name] > 0
    segments = [(row.data["segment"], row.data["value"], row.data["queries"])
                for row in found["by segment"].records]  # fmt: skip
    assert segments == [
        ("words in the query", "1-2", 15),
        ("words in the query", "6-10", 1),
        ("kind", "even", 8),
        ("kind", "odd", 8),
    ]
    formats = {row.data["stored as"]: row.data for row in found["formats"].records}
    assert formats["float32"]["overlap@10"] == 1
    assert formats["float32"]["chosen"] == "yes"
    assert formats["packed_bit"]["overlap@10"] < 1
    assert run.checks["good_enough"]
    assert run.checks["no_worse_than_before"]
    assert run.checks["enough_queries"]
    assert not run.checks["relevant_documents_are_there"]


def test_nothing_new_is_not_measured_again(shop, o, monkeypatch):
    before = measure(o)

    def embed(*args: Any, **options: Any) -> Any:
        raise AssertionError("nothing is to be embedded")

    monkeypatch.setattr(SentenceTransformersEmbedder, "embed", embed)
    again = measure(o)
    assert again.reused
    assert again.evaluation == before.evaluation
    first = shop.run().search_quality
    drawing = Mock(side_effect=AssertionError("nothing is to be drawn"))
    monkeypatch.setattr(quality, "pictures", drawing)
    run = shop.run()
    assert run.search_quality["measured"].startswith("as before")
    assert run.search_quality.keys() == first.keys()
    shown = quality.PICTURES & first.keys()
    assert len(shown) > 10
    for name in shown:
        assert run.search_quality[name] == first[name]
    assert run.tags["embeddings/changed"] == "0"
    assert run.checks["no_worse_than_before"]
    assert "nothing has changed" in said_of(again)
    assert as_json(again)["measures"]["ndcg@10"]["mean"] == run.search_quality["ndcg@10"]


def test_twice_measured_is_the_same_to_the_last_digit_and_asks_no_query_twice(o, monkeypatch):
    forget(o)
    asked: list[str] = []
    real = measuring.latency
    monkeypatch.setattr(measuring, "latency", lambda *args: {})
    embed = SentenceTransformersEmbedder.embed

    def counted(self: Any, texts: Any, **options: Any) -> Any:
        asked.extend(texts)
        return embed(self, texts, **options)

    monkeypatch.setattr(SentenceTransformersEmbedder, "embed", counted)
    first = measure(o)
    assert not first.reused
    assert not asked, "the run has embedded them"
    forget(o, queries=True)
    second = measure(o)
    assert sorted(asked) == sorted(each["query"] for each in QUERIES)
    assert numbers(second) == numbers(first)
    assert second.evaluation.state == first.evaluation.state
    assert real(o, *_searching(o)).keys() == {"p50", "p95", "embedded_p50", "embedded_p95"}


def _searching(o: Opened) -> tuple[Any, list[Any]]:
    from contextlib import ExitStack

    from assets.work.searching import Question, Searcher

    searcher = Searcher(o, ExitStack(), follow=False)
    vector = searcher.embed_queries(["sea"])[0]
    return searcher, [Question("sea", vector)]


class Killed(BaseException):
    pass


def test_interrupted_anywhere_it_goes_on_and_comes_to_the_same(o, monkeypatch):
    monkeypatch.setattr(measuring, "latency", lambda *args: {})
    for module in (measuring, vectors):
        monkeypatch.setattr(module, "WINDOW", 9)
    forget(o, queries=True)
    whole = measure(o)
    write, embed = Files.write, SentenceTransformersEmbedder.embed
    writes, asked = 0, [""]

    def counted(self: Any, texts: Any, **options: Any) -> Any:
        asked.extend(texts)
        return embed(self, texts, **options)

    monkeypatch.setattr(SentenceTransformersEmbedder, "embed", counted)
    step = 0
    for step in range(20):
        forget(o, queries=True)
        writes, asked = 0, []

        def killing(self: Any, path: str, data: bytes, step: int = step) -> None:
            nonlocal writes
            writes += 1
            if writes == step + 1:
                raise Killed  # before this file is there
            write(self, path, data)

        with monkeypatch.context() as patch:
            patch.setattr(Files, "write", killing)
            try:
                measure(o)
            except Killed:
                pass
            else:
                break
        resumed = measure(o)
        assert numbers(resumed) == numbers(whole), f"killed at write {step}"
        # Only what was in flight is embedded again: at most a window of nine.
        texts = {each["query"] for each in QUERIES}
        assert set(asked) == texts
        assert len(asked) <= len(texts) + 9
        assert len(o.batches.rankings.kept(o.name)) == 1, "it went on with the one it had begun"
    assert step == 4, "two windows of vectors, and two of rankings"


def test_ids_of_another_type_are_refused_with_the_conversion(shop, tmp_path):
    as_text = [{"id": "1", "query": "sea", "relevant": ["2", "3"]}]
    config = tmp_path / "queries.yaml"

    def ask(queries: list[dict[str, Any]]) -> Evaluation:
        settings = {"config": write_queries(tmp_path, queries)}
        config.write_text(json.dumps({"resources": {"evaluation": settings}}), "utf-8")
        with open_pipeline(shop.pipeline, [config]) as o:
            found = measure(o).evaluation
            o.client[o.mongodb.registry]["evaluations"].delete_one({"_id": found.id})
        return found

    with pytest.raises(EvaluationError, match="`ids: integer`"):
        ask(as_text)
    found = ask([{"id": "1", "query": "sea", "relevant": ["no such document"]}])
    assert found.measures["recall@100"]["mean"] == 0
    assert found.measures_of_stored == {}, "nothing is left to be measured"
    assert found.queries.not_in_store == 1
    with pytest.raises(EvaluationError, match="no query with a relevant document"):
        ask([{"id": "1", "query": "sea", "relevant": []}])
    with pytest.raises(EvaluationError, match=r"the query 'sea': .*year"):
        ask([{"id": "1", "query": "sea", "relevant": [3], "filter": {"year": 1}}])


def test_a_segment_that_no_document_has_is_refused(shop, tmp_path):
    config = tmp_path / "segments.yaml"
    config.write_text('resources: {evaluation: {config: {segments: ["year"]}}}', "utf-8")
    with (
        open_pipeline(shop.pipeline, [config]) as o,
        pytest.raises(EvaluationError, match=r"'year' among its `segments`.*carry it"),
    ):
        measure(o)


def test_what_stands_in_quarantine_is_told_from_what_is_not_there(shop, o):
    forget(o)
    lane = Lane(o.name, o.space.id)
    o.registry.quarantine.add(lane, "run", [RejectedRecord(400, "here", "no text", "")])
    found = measure(o).evaluation
    assert (found.queries.not_in_store, found.queries.in_quarantine) == (0, 1)
    assert found.details["absent"] == [
        {"query": "gone", "document": "400", "where": "in quarantine"}
    ]
    o.registry.quarantine.drop(o.name)
    forget(o)


def test_what_was_measured_is_exported_for_others(shop, o, tmp_path):
    import ir_measures

    found = measure(o).evaluation
    run, qrels = export_recorded(shop.pipeline, tmp_path)
    values = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 10, ir_measures.R @ 100],
        ir_measures.read_trec_qrels(str(qrels)),
        ir_measures.read_trec_run(str(run)),
    )
    theirs = {str(measure): value for measure, value in values.items()}
    assert theirs["nDCG@10"] == pytest.approx(found.measures["ndcg@10"]["mean"], abs=1e-15)
    assert theirs["R@100"] == pytest.approx(found.measures["recall@100"]["mean"], abs=1e-15)


def test_worse_than_before_is_said_with_the_queries_and_can_be_accepted(
    tmp_path, tmp_path_factory, static_model, mongod_uri, monkeypatch
):
    monkeypatch.setattr(quality, "pictures", lambda *args: {})  # what takes long is no part of it
    shop = make(tmp_path, mongod_uri, static_model, min={"ndcg@10": 0.5})
    first = shop.run()
    assert first.success, first.failures
    assert first.checks["good_enough"]
    other = str(build_static_model(tmp_path_factory.mktemp("models") / "other", 2))
    shop.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    shop.configure({"model_change": {"mode": "replace", "allow_replace": True}})
    second = shop.run()
    assert second.success, second.failures
    assert not second.checks["good_enough"]
    assert not second.checks["no_worse_than_before"]
    assert second.checks["index_is_complete"]
    found = second.search_quality
    assert found["ndcg@10 change"] < -0.1
    assert found["compared with"].startswith(first.search_quality["evaluation"])
    rows = [row.data for row in found["queries that got worse"].records]
    assert 1 <= len(rows) <= 10
    assert all(row["now"] < row["before"] for row in rows)
    assert rows == sorted(rows, key=lambda row: row["now"] - row["before"])
    assert all("✓" in row["found before"] for row in rows)
    with open_pipeline(shop.pipeline) as o:
        again = measure(o)
        assert again.reused
        assert again.evaluation.passed is False
        said = no_worse_than_before(o, again.evaluation)
        assert not said.passed, "the same is still worse"
        assert f"--accept {again.evaluation.id}" in (said.description or "")
    with pytest.raises(EvaluationError, match="has no evaluation 'nowhere'"):
        accept(shop.pipeline, "nowhere")
    accepted = accept(shop.pipeline, second.run_id)
    assert accepted.id == found["evaluation"]
    with open_pipeline(shop.pipeline) as o:
        assert no_worse_than_before(o, accepted).passed
        assert accept(shop.pipeline, "last").id == accepted.id
    shop.client.drop_database(shop.database)


def test_a_run_that_is_told_to_measure_nothing_says_so(shop, monkeypatch):
    monkeypatch.setattr(quality, "pictures", lambda *args: {"pictures": "anew"})
    shop.run("search_quality")
    off = {"resources": {"evaluation": {"config": {"queries": {"none": {}}}}}}
    run = shop.run("search_quality", config=off)
    assert run.success, run.failures
    assert run.search_quality == {"measured": "no: this run's `evaluation` has no queries"}
    assert all(run.checks.values())
    on = shop.run("search_quality")
    assert on.search_quality["measured"].startswith("as before")
    assert on.search_quality["pictures"] == "anew", "what was shown last was not of this"


def test_an_error_in_measuring_leaves_what_came_before(shop, tmp_path):
    missing = {"queries": {"jsonl": {"path": str(tmp_path / "nowhere.jsonl")}}}
    run = shop.run(config={"resources": {"evaluation": {"config": missing}}})
    assert not run.success
    (failure,) = run.failures
    assert "nowhere.jsonl" in failure
    assert run.search_index["vectors indexed"] == 40
    assert run.checks["index_is_complete"]
    assert shop.search("sea", limit=3).hits


def test_evaluations_have_a_schedule_of_their_own_where_one_is_given(shop, tmp_path):
    pipeline = shop.pipeline
    alone = dg.AssetKey(["films", "search_quality"])
    defs = pipeline.definitions()
    assert alone in _selected(defs, "films")
    own = EmbeddingPipeline("films", pipeline.configs, evaluation_schedule="0 4 * * *")
    defs = own.definitions()
    assert alone not in _selected(defs, "films")
    assert _selected(defs, "films_evaluation") == {alone}
    schedule = defs.resolve_schedule_def("films_evaluation_schedule")
    assert schedule.cron_schedule == "0 4 * * *"
    shop_without = Workshop(tmp_path, shop.uri, shop.database, shop.model)
    shop_without.write(DOCUMENTS[:1])
    without = shop_without.pipeline
    keys = without.definitions().resolve_asset_graph().get_all_asset_keys()
    assert alone not in keys
    with pytest.raises(ConfigurationError, match="choose no judged queries"):
        EmbeddingPipeline("films", without.configs, evaluation_schedule="0 4 * * *").definitions()


def _selected(defs: dg.Definitions, job: str) -> set[dg.AssetKey]:
    return set(defs.resolve_job_def(job).asset_layer.executable_asset_keys)


@pytest.fixture
def changed(shop: Workshop, tmp_path: Path) -> Callable[..., AbstractContextManager[Opened]]:
    """Opens the pipeline with other settings of `evaluation`."""

    def ask(**settings: Any) -> AbstractContextManager[Opened]:
        config = tmp_path / f"{secrets.token_hex(4)}.yaml"
        config.write_text(json.dumps({"resources": {"evaluation": {"config": settings}}}), "utf-8")
        return open_pipeline(shop.pipeline, [config], run="a test")

    return ask


def test_what_is_asked_of_figures_is_judged_anew_without_measuring(o, changed, monkeypatch):
    forget(o)
    first = measure(o).evaluation
    assert first.passed
    figures = {name: {**each, "mean": each["mean"] + 0.05} for name, each in first.measures.items()}
    earlier = replace(first, id="20260101T000000-before", at=first.at - timedelta(1))
    o.registry.evaluations.record(replace(earlier, measures=figures))
    monkeypatch.setattr(measured, "Measuring", None)
    asked = [
        ({"min": {"ndcg@10": 0.999}}, False),
        ({"min": {"ndcg@10": 0.1}}, False),  # it is 0.05 worse than the one before
        ({"tolerance": 0.06}, True),
        ({"tolerance": 0.04}, False),
        ({"tolerance": 0.06, "min": {"ndcg@10": 0.999}}, False),
    ]
    for settings, passed in asked:
        with changed(**settings) as again:
            found = measure(again)
        assert found.reused
        assert (found.evaluation.id, found.evaluation.passed) == (first.id, passed), settings
        kept = o.registry.evaluations.get(first.id)
        assert kept is not None
        assert (kept.passed, kept.baseline, kept.measures) == (passed, earlier.id, first.measures)
    forget(o)


def test_queries_that_are_edited_meanwhile_are_measured_as_they_are(
    o, changed, tmp_path, monkeypatch
):
    forget(o)
    setting = write_queries(tmp_path, QUERIES)
    path, edits = Path(setting["queries"]["jsonl"]["path"]), [QUERIES[2:], QUERIES[5:]]
    check = measuring.check_ids

    def editing(*args: Any) -> None:
        check(*args)
        if edits:  # after the first reading, before the next
            path.write_text("".join(json.dumps(e) + "\n" for e in edits.pop(0)), "utf-8")

    monkeypatch.setattr(measuring, "check_ids", editing)
    with changed(**setting) as edited:
        before = edited.batches.rankings.kept(edited.name)
        found = measure(edited).evaluation
        assert found.queries.answerable == len(QUERIES[5:]) - 1
        assert found.queries.digest == digest(list(edited.judged_queries))
        rankings = edited.batches.rankings
        left = set(rankings.kept(edited.name)) - set(before)
        assert left == {found.id}, "of what was found before the edit nothing is left"
        names = [each.query for each in rankings.read(edited.name, found.id)]
        assert names == [each["id"] for each in QUERIES[5:]]
        edits += [QUERIES[:n] for n in (9, 8, 7)]
        forget(edited)
        with pytest.raises(EvaluationError, match=r"changed 3 times while it was measured"):
            measure(edited)
    forget(o)


def test_an_index_that_is_built_meanwhile_is_measured_instead(shop, o, monkeypatch):
    forget(o)
    for name in ("STALE_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(following, name, 0)
    before = o.batches.rankings.kept(o.name)
    check, built = measuring.check_ids, []

    def building(*args: Any) -> None:
        check(*args)
        if not built:
            shop.write([*DOCUMENTS[:39], {**DOCUMENTS[39], "text": "a wolf and a lamp"}])
            built.append(shop.run(*ASSETS))

    monkeypatch.setattr(measuring, "check_ids", building)
    found = measure(o).evaluation
    assert built[0].success, built[0].failures
    index = o.registry.indexes.get(o.index_key)
    assert index is not None
    assert found.state["index"] == str(index.version)
    left = set(o.batches.rankings.kept(o.name)) - set(before)
    assert left == {found.id}, "of what the other index had found nothing is left"
    shop.write(DOCUMENTS)
    assert shop.run(*ASSETS).success
    forget(o)


def test_two_at_once_come_to_the_same(shop, o):
    forget(o)
    barrier = threading.Barrier(2)

    def one(_: int) -> Measured:
        with open_pipeline(shop.pipeline, run="a test") as mine:
            barrier.wait(60)
            return measure(mine)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert numbers(first) == numbers(second)
    assert measure(o).reused
    forget(o)


def test_a_change_is_told_from_chance_by_a_paired_test(o):
    forget(o)
    found = measure(o).evaluation
    then = replace(found, id="20260101T000000-before", at=found.at - timedelta(1))
    o.registry.evaluations.record(then)
    rows = list(o.batches.rankings.read(o.name, found.id))
    mine = {name: o.batches.rankings.measures(o.name, found.id, name) for name in found.measures}
    # Every query was better by a little, and one alone by much more.
    ways = [(lambda at: 0.1, True), (lambda at: 0.9 if at == 3 else 0.0, False)]
    for better, significant in ways:
        columns = {
            name: [
                values[row.query] + better(at) if row.query in values else None
                for at, row in enumerate(rows)
            ]
            for name, values in mine.items()
        }
        o.batches.rankings.write(o.name, then.id, 0, rows, columns)
        said = no_worse_than_before(o, found)
        p = float(said.metadata["ndcg@10 p"].value)  # pyright: ignore[reportArgumentType]
        assert (p < 0.05) == significant
        worse = {**found.measures, "ndcg@10": {**found.measures["ndcg@10"], "mean": 0.1}}
        fell = no_worse_than_before(o, replace(found, measures=worse))
        assert ("(more than chance, p = " in (fell.description or "")) == significant
        assert ("no more than chance could give" in (fell.description or "")) != significant
    o.batches.rankings.remove(o.name, then.id)
    assert "chance" not in (no_worse_than_before(o, found).description or "")
    forget(o)


def test_figures_are_of_what_a_search_on_a_search_node_returns_reranked(
    tmp_path, static_model, mongod_uri, voyage_api, monkeypatch
):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    with search_node(mongod_uri) as node:
        shop = make(tmp_path, node.uri, static_model)
        shop.write(DOCUMENTS[:20])
        paid = {"base_url": voyage_api.url, "api_key": {"env": "VOYAGE_API_KEY"}}
        shop.configure(
            {
                "source": {"chunking": {"recursive": {"size": 12, "overlap": 0}}},
                "search_index": {"engine": "mongodb", "poll_seconds": 0.05},
                "evaluation": write_queries(tmp_path, [*QUERIES[:5], *QUERIES[-2:]]),
                "rerank": {"provider": {"voyage": paid}, "candidates": 7},
            }
        )
        run = shop.run()
        assert run.success, run.failures
        found = run.search_quality
        assert found["reranked by"] != "nothing"
        (note,) = [row.data["note"] for row in found["notes"].records]
        assert "recall@100 is of 7 documents at most" in note
        rankings, queries = [], []
        with open_pipeline(shop.pipeline, run="a test") as o, open_searcher(shop.pipeline) as s:
            kept = list(o.batches.rankings.read(o.name, found["evaluation"]))
            for query, row in zip(o.judged_queries, kept, strict=True):
                hits = s.search(query.text, limit=100, group_by_source=True).hits
                assert 0 < len(hits) <= 7
                rankings.append(Ranking.of(query.id, [(h.source_id, h.score) for h in hits]))
                queries.append(query)
                assert (row.ids, row.scores) == (rankings[-1].ids, rankings[-1].scores)
        for name, values in per_query(queries, rankings).items():
            assert found[name] == pytest.approx(values.mean(), abs=1e-15)
        shop.client.drop_database(shop.database)
        shop.client.close()
