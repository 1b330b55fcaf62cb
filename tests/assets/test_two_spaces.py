"""A run that builds a space beside the one that serves: what it says of both, and what it costs."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import run_tags
from assets.about import ASSETS
from assets.candidate_checks import JUDGES, NOTHING
from pipelines.framework.catalog import open_pipeline
from pipelines.operations.plan import dry_run
from resources.core.keys import key
from resources.registry.pipeline_spaces import Change
from tests.assets.test_search_quality import write_queries
from tests.providers.behaviour import count_tokens
from tests.providers.openai import OpenAIServer
from tests.workshop import Run, Workshop, shared_instance

SMALL, LARGE = "text-embedding-3-small", "text-embedding-3-large"
USD = {SMALL: 0.02, LARGE: 0.13}
"""Per million tokens, at list price."""
DOCUMENTS = [{"_id": n, "text": f"text number {n}", "kind": f"k{n % 3}"} for n in range(12)]
TOKENS = sum(count_tokens(row["text"]) for row in DOCUMENTS)


@pytest.fixture
def shop(
    tmp_path: Path, mongod_uri: str, openai_api: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    """Served by the small model."""
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    monkeypatch.setenv("ANOTHER_KEY", openai_api.behaviour.key)
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", "none")
    made.configure({"embedder": {"provider": provider(openai_api, SMALL)}})
    made.write(DOCUMENTS)
    first = made.run()
    assert first.success, first.failures
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def provider(server: OpenAIServer, model: str, variable: str = "OPENAI_API_KEY") -> dict[str, Any]:
    given = {"base_url": server.url, "dimensions": 64, "api_key": {"env": variable}}
    return {"openai": {**given, "model": model}}


def wants_large(shop: Workshop, server: OpenAIServer, **model_change: Any) -> None:
    shop.configure({"embedder": {"provider": provider(server, LARGE, "ANOTHER_KEY")}})
    shop.configure({"model_change": model_change})


def rows(value: Any) -> list[dict[str, Any]]:
    return [record.data for record in value.records]


def assert_finished(run: Run, documents: int) -> None:
    """The serving space is all that it should be."""
    assert set(ASSETS) <= run.metadata.keys()
    assert run.stored_vectors["vectors stored"] == documents
    assert run.search_index["vectors indexed"] == documents
    failed = {name for name, passed in run.checks.items() if not passed} - JUDGES.keys()
    assert failed <= {"enough_queries", "few_in_quarantine"}
    assert run.checks["index_is_complete"]


def test_each_space_has_its_own_cost_counts_and_checks(shop: Workshop, openai_api: OpenAIServer):
    new = {"_id": "new", "text": "another text"}
    shop.write([*DOCUMENTS, new, {"_id": "empty", "text": ""}])
    wants_large(shop, openai_api)
    run = shop.run()
    assert run.success, run.failures
    assert_finished(run, 13)
    built, served = run.candidate_space, run.embedding_batches
    assert (served["embedded"], built["embedded"]) == (1, 13)
    more = count_tokens(new["text"])
    assert (served["tokens"], built["tokens"]) == (more, TOKENS + more)
    costs = [more * USD[SMALL] / 1e6, (TOKENS + more) * USD[LARGE] / 1e6]
    assert [served["cost (USD)"], built["cost (USD)"]] == pytest.approx(costs)
    assert {name: run.checks[name] for name in JUDGES} == dict.fromkeys(JUDGES, True)
    assert (built["complete"], built["chunks"], built["chunks without a vector"]) == (True, 13, 0)
    assert (built["vectors stored"], built["vectors indexed"], built["begun"]) == (
        13, 13, "by this run",
    )  # fmt: skip
    assert built["serving meanwhile"] == served["space"]
    assert built["rejected now"] == 1
    assert [row["id"] for row in rows(built["quarantine"])] == ["empty"]
    assert built["next"] == f"embeddings promote films {built['candidate']}"
    assert [row["state"] for row in rows(built["spaces"])] == ["serving", "ready"]
    path = f"embedding__{built['candidate']}"
    assert path in {column.name for column in built["dagster/column_schema"].columns}
    # Of both together, for histories and to find runs by.
    assert run.tags[run_tags.CANDIDATE] == built["candidate"]
    assert run.tags[run_tags.SPACE] == served["space"]
    assert run.tags[run_tags.MODEL] == SMALL
    assert run.tags[run_tags.EMBEDDED] == "14"
    assert float(run.tags[run_tags.COST]) == pytest.approx(sum(costs), abs=1e-6)
    assert run.tags[run_tags.CHANGED] == "13"
    again = shop.run()
    assert again.candidate_space["begun"] == "by an earlier run"
    assert again.tags[run_tags.CHANGED] == "0"


def test_what_is_built_leads_back_to_the_texts_before_it_is_built(shop: Workshop):
    node = shop.pipeline.definitions().resolve_asset_graph().get(
        dg.AssetKey(["films", "candidate_space"])
    )  # fmt: skip
    lineage = node.metadata["dagster/column_lineage"].deps_by_column
    assert {name: [(dep.asset_key.path[-1], dep.column_name) for dep in deps]
            for name, deps in lineage.items()} == {
        "embedding__<space>": [("source_documents", "text")]
    }  # fmt: skip


def test_nothing_of_the_serving_space_is_touched(shop: Workshop, openai_api: OpenAIServer):
    before = shop.stored()
    wants_large(shop, openai_api)
    assert shop.run().success
    after = shop.stored()
    assert after.keys() == before.keys()
    for name, document in before.items():
        assert {field: after[name][field] for field in document} == document
        assert len(after[name]) == len(document) + 2


def test_a_candidate_that_is_refused_fails_the_run_after_the_serving_space(
    shop: Workshop, openai_api: OpenAIServer, monkeypatch: pytest.MonkeyPatch
):
    judged = [{"id": "q", "query": "number 3", "relevant": [3]}]
    shop.configure({"evaluation": write_queries(shop.folder, judged)})
    monkeypatch.setattr("assets.report.quality.pictures", lambda *args: {})
    openai_api.behaviour.fault_when = lambda request: 403 if request.model == LARGE else None
    shop.write([*DOCUMENTS, {"_id": "new", "text": "another text"}])
    wants_large(shop, openai_api)
    run = shop.run()
    assert not run.success
    assert len(run.failures) == 1
    assert f"{LARGE}: Country, region" in run.failures[0]
    assert "keep_serving" not in run.failures[0], "that one is kept fresh"
    assert "candidate_space" not in run.metadata
    assert_finished(run, 13)
    assert run.search_quality["ndcg@10"]
    assert "good_enough" in run.checks
    assert not run.checks.keys() & JUDGES.keys()
    assert shop.search("another text").hits[0].id == "new"
    openai_api.behaviour.fault_when = None
    assert shop.run().candidate_space["complete"]


def test_a_check_of_the_candidate_fails_the_run_after_the_serving_space(
    shop: Workshop, openai_api: OpenAIServer
):
    wants_large(shop, openai_api)
    assert shop.run().success
    stranger = {"space": "another-64", "batch": "b", "pipeline": "another", "text_hash": "x"}
    with open_pipeline(shop.pipeline) as o:
        assert o.candidate
        at = o.candidate.store.lineage_path
    shop.vectors.update_one({"_id": 3}, {"$set": {at: stranger}})
    shop.configure({"source": {"limit": 2}})  # nothing is put right
    run = shop.run()
    assert not run.success
    assert "the check candidate_is_one_space failed" in "; ".join(run.failures)
    assert run.checks["candidate_is_one_space"] is False
    assert run.checks["one_space"]
    assert run.checks["candidate_batches_are_sound"]


def test_without_one_its_checks_pass_and_say_why(shop: Workshop):
    run = shop.run()
    assert {name: run.checks[name] for name in JUDGES} == dict.fromkeys(JUDGES, True)
    history = shared_instance().event_log_storage.get_asset_check_execution_history
    asset = dg.AssetKey(["films", "candidate_space"])
    (record,) = history(dg.AssetCheckKey(asset, "candidate_is_all_stored"), limit=1)
    assert record.event
    assert record.event.dagster_event
    said = record.event.dagster_event.asset_check_evaluation_data.description or ""
    assert said.replace("\\", "") == NOTHING


def test_a_serving_space_whose_provider_is_gone_does_not_hold_up_the_next(
    shop: Workshop, openai_api: OpenAIServer, monkeypatch: pytest.MonkeyPatch
):
    shop.write([*DOCUMENTS, {"_id": "new", "text": "another text"}])
    wants_large(shop, openai_api)
    monkeypatch.delenv("OPENAI_API_KEY")
    planned = dry_run(shop.pipeline)
    assert "OPENAI_API_KEY is not set" in planned.refused
    run = shop.run()
    assert not run.success
    (said,) = run.failures
    assert "OPENAI_API_KEY, which is not set" in said
    way_out = re.search(r"`model_change: \{config: \{keep_serving: false\}\}` in the run's", said)
    assert way_out
    assert "serves while another one is built" in said
    before = shop.stored()
    config = {"resources": {"model_change": {"config": {"keep_serving": False}}}}
    run = shop.run(config=config)
    assert run.success, run.failures
    assert run.candidate_space["complete"]
    assert run.candidate_space["vectors stored"] == 13
    assert run.tags[run_tags.MODEL] == LARGE
    after = shop.stored()
    for name, document in before.items():
        assert {field: after[name][field] for field in document} == document
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    openai_api.behaviour.fault_when = lambda request: 401 if request.model == SMALL else None
    refused = shop.run()
    assert "keep_serving: false" in refused.failures[0], "a model that was withdrawn"


@pytest.mark.parametrize("limit", ["max_tokens", "max_cost_usd"])
def test_a_budget_is_for_both_together(shop: Workshop, openai_api: OpenAIServer, limit: str):
    new = {"_id": "new", "text": "another text " * 40}
    shop.write([*DOCUMENTS, new])
    wants_large(shop, openai_api)
    planned = dry_run(shop.pipeline)
    assert planned.candidate
    first, second = planned.estimate, planned.candidate.estimate
    total = planned.total
    assert (first.texts, second.texts, total.texts) == (1, 13, 14)
    assert total.tokens == first.tokens + second.tokens
    assert first.cost_usd
    assert second.cost_usd
    assert total.cost_usd == pytest.approx(first.cost_usd + second.cost_usd)
    # Each alone is within it.
    least = {
        "max_tokens": max(first.tokens, second.tokens) + 1,
        "max_cost_usd": max(first.cost_usd, second.cost_usd) * 1.01,
    }[limit]
    shop.configure({"embedder": {limit: least}})
    sentence = dry_run(shop.pipeline).refused
    assert f"over `{limit}: {least}`" in sentence
    assert "of the space that serves" in sentence or "for the space that serves" in sentence
    asked = len(openai_api.requests)
    run = shop.run()
    assert not run.success
    assert f"over `{limit}: {least}`" in run.failures[0]
    assert "nothing more is spent" in run.failures[0]
    sent = [request.model for request in openai_api.requests[asked:]]
    assert sent == [SMALL], "of the serving space, which is finished first"
    assert_finished(run, 13)
    shop.configure({"embedder": {limit: 10_000 if limit == "max_tokens" else 1.0}})
    assert shop.run().candidate_space["complete"]


def test_a_plan_shows_both_and_where(shop: Workshop, openai_api: OpenAIServer):
    shop.write([*DOCUMENTS[1:], {"_id": "new", "text": "another text"}])
    wants_large(shop, openai_api)
    requests, stored = len(openai_api.requests), shop.stored()
    planned = dry_run(shop.pipeline)
    beside = planned.candidate
    assert beside
    assert (planned.model, beside.model) == (SMALL, LARGE)
    assert (planned.counts.new, planned.counts.deleted) == (1, 1)
    assert (beside.counts.new, beside.counts.deleted) == (12, 0)
    assert (planned.path, beside.path) == ("embedding", f"embedding__{beside.space}")
    assert beside.index == f"{planned.index}__{beside.space}"
    assert (planned.resumed, beside.resumed) == (True, False)
    shop.configure({"model_change": {"keep_serving": False}})
    alone = dry_run(shop.pipeline)
    assert alone.left_alone
    assert alone.candidate == beside
    assert alone.total == beside.estimate
    assert (len(openai_api.requests), shop.stored()) == (requests, stored)
    assert shop.run().success
    resumed = dry_run(shop.pipeline).candidate
    assert resumed
    assert resumed.resumed
    assert resumed.estimate.texts == 0


def test_how_far_the_others_are_behind_is_counted_once_for_every_change(
    shop: Workshop, openai_api: OpenAIServer
):
    wants_large(shop, openai_api)
    built = shop.run().candidate_space["candidate"]
    with open_pipeline(shop.pipeline) as o:
        served = o.record.serving
        assert o.registry.of_pipelines.serve(o.record, Change("promoted", built))
    # The large one serves now, and runs want it; the small one is a way back.
    edited = [{**DOCUMENTS[0], "text": "quite another"}, *DOCUMENTS[2:]]
    shop.write([*edited, {"_id": "new", "text": "another text"}])
    said = shop.run().candidate_space
    assert said["most chunks behind"] == 2, "one edited, one new; what is gone is no matter"
    serving, previous = rows(said["spaces"])
    assert (serving["space"], serving["behind"]) == (built, 0)
    assert (previous["space"], previous["state"], previous["behind"]) == (served, "previous", 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", previous["last complete"])
    # While nothing changes, nobody looks into the documents.
    records = shop.client[shop.database]["pipeline_spaces"]
    records.update_one({}, {"$set": {f"spaces.{served}.behind": 77}})
    assert shop.run().candidate_space["most chunks behind"] == 77
    shop.write([*edited, {"_id": "new", "text": "and again another"}, {"_id": "x", "text": "x"}])
    assert shop.run().candidate_space["most chunks behind"] == 3


def test_spaces_that_are_cut_in_another_way_are_not_compared_chunk_by_chunk(
    shop: Workshop, openai_api: OpenAIServer
):
    wants_large(shop, openai_api)
    shop.configure({"source": {"chunking": {"recursive": {"size": 30, "overlap": 0}}}})
    shop.write([{**row, "text": f"{row['text']}.\n\n{'more of it ' * 4}"} for row in DOCUMENTS])
    run = shop.run()
    assert run.success, run.failures
    assert run.source_documents["dagster/row_count"] == 12, "as the serving space is cut"
    assert run.candidate_space["dagster/row_count"] > 12
    (row,) = (row for row in rows(run.candidate_space["spaces"]) if row["state"] == "ready")
    assert row["behind"].startswith("its documents are cut in another way")
    assert {key(name) for name in shop.stored()} >= {key(row["_id"]) for row in DOCUMENTS}


def test_a_piece_of_text_that_both_cut_out_keeps_its_place_in_each(
    shop: Workshop, openai_api: OpenAIServer
):
    """The last paragraph is one chunk for both: the third of the one, the fourth of the other."""
    chunked = {"chunking": {"recursive": {"size": 40, "overlap": 0}}}
    text = f"First things first.\n\n{'Second to none, but. ' * 3}\n\nAt last."
    shop.configure({"source": chunked, "vector_store": {"allow_delete": True}})
    shop.write([{"_id": n, "text": f"{n}. {text}"} for n in range(3)])
    assert shop.run().success
    before = shop.stored()
    wants_large(shop, openai_api)
    shop.configure({"source": {"chunking": {"recursive": {"size": 20, "overlap": 0}}}})
    run = shop.run()
    assert run.success, run.failures
    after = shop.stored()
    assert {name: after[name] for name in before} == before
    space = run.candidate_space["candidate"]
    own = [name for name, row in after.items() if f"embedding__{space}" in row]
    assert len(own) == run.candidate_space["chunks"]
    assert not set(own) & before.keys()
    assert {row["text"] for name, row in after.items() if name in own} & {
        row["text"] for row in before.values()
    }, "some texts are chunks of both"
    assert shop.run().candidate_space["vectors written"] == 0
    with open_pipeline(shop.pipeline) as o:
        assert o.registry.of_pipelines.serve(o.record, Change("promoted", space))
    tonight = shop.run()
    assert tonight.success, tonight.failures
    assert tonight.stored_vectors["vectors written"] == 0
    assert tonight.source_documents["unchanged"] == len(own)
    assert {name: after[name] for name in before} == before
