"""Candidates side by side: the figures of a search, the same every time, and nothing touched."""

import hashlib
import json
import re
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import ir_measures
import pytest
import yaml

from assets.work.evaluating.candidates import BASELINE, Asked
from assets.work.evaluating.figures import Compared, Row
from pipelines.operations.evaluation.as_json import compared_as_json
from pipelines.operations.evaluation.comparing import evaluate
from pipelines.operations.evaluation.page import as_page
from pipelines.operations.evaluation.telling import how, sentences
from pipelines.operations.search import search
from resources.core.errors import ConfigurationError, EvaluationError
from resources.evaluation.measures import MEASURES
from tests.models import build_cross_encoder
from tests.pipelines.helpers import write_config
from tests.pipelines.operations.evaluation.conftest import DOCUMENTS, JUDGED
from tests.workshop import Workshop

ALL = Asked(
    dimensions=[16],
    formats=["int8", "packed_bit", "packed_bit+int8"],
    modes=["text", "hybrid"],
    landscape=True,
)


@pytest.fixture(scope="module")
def models_of_mine(films: Workshop, other: str) -> str:
    """A catalogue that says which of the models can be cut."""
    path = films.folder / "models.yaml"
    names = [Path(films.model).name, "other"]
    entries = {f"sentence_transformers/{name}": {"dimensions": [64, 32, 16]} for name in names}
    path.write_text(yaml.safe_dump({"models": entries}), "utf-8")
    return str(path)


@pytest.fixture
def cuttable(models_of_mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_MODELS", models_of_mine)


@pytest.fixture(scope="module")
def compared(films: Workshop, other: str, chunked: str, models_of_mine: str) -> Compared:
    """All there is, on the whole source, with its runs written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBEDDINGS_MODELS", models_of_mine)
        return evaluate(films.pipeline, [other, chunked], asked=ALL, export=films.folder / "runs")


def rows(compared: Compared, candidate: str) -> dict[str, Row]:
    return {how(row): row for row in compared.rows if row.candidate.endswith(candidate)}


def figures(compared: Compared) -> Any:
    """All but what is timed, and the evaluation's own id."""
    found = compared_as_json(compared)
    for row in found["rows"]:
        del row["latency"], row["whole"]["seconds"]
    return json.loads(
        json.dumps({**found, "id": 0, "spent": 0, "means": 0, "runs": 0}, default=str)
    )


def everything(films: Workshop, *folders: str) -> dict[str, str]:
    """What a run or a search goes by, byte for byte."""
    database = films.client[films.database]
    ours = {"evaluations", "embedding_spend", "embedding_requests"}
    found = {
        name: hashlib.sha256(
            repr([str(each) for each in database[name].find().sort("_id", 1)]).encode()
        ).hexdigest()
        for name in database.list_collection_names()
        if name not in ours
    }
    store = films.folder / "batch_store"
    for folder in folders or ("plans", "indexes", "batches"):
        for path in sorted((store / folder).rglob("*")):
            if path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_every_candidate_has_its_rows_and_the_first_is_the_pipeline_as_it_stands(
    compared: Compared,
):
    first = compared.rows[0]
    assert (first.candidate, how(first)) == (BASELINE, "64 float32")
    assert not first.against
    grid = ["int8", "packed_bit", "packed_bit+int8"]
    wanted = {f"{width} {name}" for width in (64, 16) for name in ["float32", *grid]}
    assert set(rows(compared, BASELINE)) == {*wanted, "words", "64 float32, hybrid"}
    # Whatever the model, words alone find the same: once is enough.
    assert "words" not in rows(compared, "other.yaml")
    assert "32 float32, hybrid" in rows(compared, "other.yaml")
    assert {"64 float32", "words", "64 float32, hybrid"} <= set(rows(compared, "chunked.yaml"))
    assert (compared.answerable, compared.unanswerable) == (len(JUDGED), 1)
    assert (compared.documents, compared.corpus) == (len(DOCUMENTS), len(DOCUMENTS))


def test_the_first_row_finds_what_a_search_of_the_pipeline_finds(
    films: Workshop, compared: Compared
):
    run = Path(compared.runs[1]).read_text("utf-8").splitlines()
    ranked: dict[str, list[int]] = {}
    for line in run:
        query, _, document, *_ = line.split()
        ranked.setdefault(query, []).append(int(document))
    queries = [json.loads(line) for line in (films.folder / "queries.jsonl").open()]
    for query in queries[:-1]:
        answer = films.search(query["query"], limit=100, filter=query["filter"], exact=True)
        assert ranked[query["id"]] == [hit.id for hit in answer.hits]


def test_figures_are_those_of_ir_measures_on_the_files_that_it_reads(compared: Compared):
    qrels = list(ir_measures.read_trec_qrels(compared.runs[0]))
    assert len(compared.runs) == 1 + len(compared.rows)
    measures = {name: ir_measures.parse_measure(theirs) for name, theirs in MEASURES.items()}
    for path, row in zip(compared.runs[1:], compared.rows, strict=True):
        run = list(ir_measures.read_trec_run(path))
        theirs = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
        for name, measure in measures.items():
            assert row.measures[name].mean == pytest.approx(theirs[measure], abs=1e-12)


def test_again_it_says_the_same_to_the_last_digit_pays_nothing_and_touches_nothing(
    films: Workshop, compared: Compared, other: str, chunked: str, cuttable: None
):
    before = everything(films)
    again = evaluate(films.pipeline, [other, chunked], asked=ALL, export=films.folder / "again")
    assert figures(again) == figures(compared)
    assert (again.spent.texts, again.spent.tokens) == (0, 0)
    assert everything(films) == before
    for path, same in zip(compared.runs, again.runs, strict=True):
        assert Path(path).read_bytes() == Path(same).read_bytes()


def test_held_a_window_at_a_time_it_finds_the_same(
    films: Workshop, compared: Compared, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("assets.work.evaluating.index.HELD_BYTES", 7 * 4 * 64)
    windowed = evaluate(films.pipeline, asked=Asked(formats=["int8"]), export=films.folder / "w")
    for row in windowed.rows:
        assert row.measures == rows(compared, BASELINE)[how(row)].measures
    assert Path(windowed.runs[1]).read_bytes() == Path(compared.runs[1]).read_bytes()


def test_a_reranker_reads_what_it_reads_in_a_search(films: Workshop, tmp_path: Path):
    model = str(build_cross_encoder(tmp_path / "reranker"))
    rerank = {"provider": {"sentence_transformers": {"model": model}}, "candidates": 5}
    read = write_config(tmp_path / "rerank.yaml", rerank=rerank)
    found = evaluate(films.pipeline, [read], export=tmp_path / "runs")
    assert [how(row) for row in found.rows] == ["64 float32", "64 float32, reranked", "64 float32"]
    assert found.rows[1].reranked == model
    assert found.rows[2].measures == found.rows[0].measures
    run = [line.split() for line in Path(found.runs[2]).read_text("utf-8").splitlines()]
    query = json.loads((films.folder / "queries.jsonl").read_text("utf-8").splitlines()[0])
    ranked = [int(document) for name, _, document, *_ in run if name == query["id"]]
    answer = search(films.pipeline, query["query"], overrides=[read], filter=query["filter"])
    assert ranked == [hit.id for hit in answer.hits]
    without = evaluate(films.pipeline, [read], asked=Asked(rerank=False))
    assert [how(row) for row in without.rows] == ["64 float32", "64 float32"]
    with pytest.raises(ConfigurationError, match="has no reranker"):
        evaluate(films.pipeline, asked=Asked(rerank=True))


def test_formats_and_widths_cost_less_and_do_not_find_more(compared: Compared):
    mine = rows(compared, BASELINE)
    sizes = {name: row.bytes_per_vector for name, row in mine.items() if name != "words"}
    assert sizes["64 packed_bit"] < sizes["64 int8"] < sizes["64 float32"]
    assert sizes["16 float32"] < sizes["64 float32"]
    assert sizes["64 packed_bit+int8"] > sizes["64 int8"]
    for name, row in mine.items():
        assert row.whole.chunks == len(DOCUMENTS)
        if name != "words":
            assert row.whole.bytes == row.bytes_per_vector * len(DOCUMENTS)
    quality = {name: row.measures["ndcg@10"].mean for name, row in mine.items()}
    assert quality["16 packed_bit"] < quality["64 packed_bit"] <= quality["64 float32"]
    assert quality["64 packed_bit+int8"] >= quality["64 packed_bit"]
    against = mine["16 packed_bit"].against["ndcg@10"]
    assert against.mean == pytest.approx(quality["16 packed_bit"] - quality["64 float32"])
    assert any("Worse by more than chance" in line for line in sentences(compared))


def test_rows_are_told_apart_by_what_differs(compared: Compared):
    """A candidate's name stands before each row where there are several, and else nowhere."""
    mine = [row for row in compared.rows if row.candidate == BASELINE]
    alone = replace(compared, rows=mine, worse={})
    several, one = (" ".join(sentences(each)) for each in (compared, alone))
    assert f"{BASELINE}, 64 " in several
    assert any(f" {how(row)} (" in one for row in mine[1:])
    assert f"{BASELINE}, " not in one
    heads = [re.findall("<th[^>]*>([^<]*)", as_page(each)) for each in (compared, alone)]
    assert [("candidate" in head, "how" in head) for head in heads] == [(True, True), (False, True)]


def test_chunks_count_for_their_document(compared: Compared):
    row = rows(compared, "chunked.yaml")["64 float32"]
    assert row.chunks > len(DOCUMENTS)
    assert row.chunking.startswith("recursive(")
    assert row.whole.chunks == row.chunks
    for line in Path(compared.runs[0]).read_text("utf-8").splitlines():
        assert int(line.split()[2]) in range(len(DOCUMENTS))


def test_a_smaller_sample_holds_all_that_is_judged_and_its_figures_are_no_lower(
    films: Workshop, compared: Compared
):
    small = evaluate(films.pipeline, asked=Asked(size=len(JUDGED) + 5))
    assert (small.documents, small.relevant) == (len(JUDGED) + 5, len(JUDGED))
    assert small.corpus == len(DOCUMENTS)
    assert small.rows[0].whole.chunks == len(DOCUMENTS)
    better = small.rows[0].measures["ndcg@10"].mean
    assert better >= compared.rows[0].measures["ndcg@10"].mean


def test_a_prompt_is_another_candidate_and_a_query_prompt_has_vectors_of_its_own(films: Workshop):
    provider = {"sentence_transformers": {"model": films.model, "query_prompt": "moth moth moth "}}
    asks = write_config(films.folder / "asks.yaml", embedder={"provider": provider})
    found = evaluate(films.pipeline, [asks])
    assert found.rows[0].space == found.rows[1].space
    assert found.spent.texts == 0
    assert found.rows[1].measures["ndcg@10"].mean < found.rows[0].measures["ndcg@10"].mean


def test_every_row_is_noted_and_its_batches_are_held(films: Workshop, compared: Compared):
    registry = films.client[films.database]["evaluations"]
    noted = list(registry.find({"run": compared.id}).sort("_id", 1))
    assert len(noted) == len(compared.rows)
    assert {each["kind"] for each in noted} == {"candidate"}
    assert noted[0]["measures"]["ndcg@10"]["mean"] == compared.rows[0].measures["ndcg@10"].mean
    held = {tuple(each) for each in noted[0]["holds"]}
    store = films.folder / "batch_store" / "batches"
    assert held == {(path.parent.name, path.stem) for path in store.rglob("*.parquet")}
    # They are held from before they were paid for.
    held_for = noted[0]["expires"] - noted[0]["at"]
    assert timedelta(days=29) < held_for < timedelta(days=30)


def test_a_run_with_that_model_finds_its_vectors(films: Workshop, compared: Compared, other: str):
    settings = yaml.safe_load(Path(other).read_text())["resources"]
    elsewhere = {"vector_store": {"config": {"collection": "other"}}}
    run = films.run(config={"resources": {**settings, **elsewhere}})
    assert run.success, run.failures
    assert run.embedding_batches.get("embedded", 0) == 0
    assert films.client[films.database]["other"].count_documents({}) == len(DOCUMENTS)


def test_as_a_page_and_for_programs_it_is_all_there(compared: Compared):
    page = as_page(compared)
    for text in ("other.yaml", "64 packed_bit+int8", "Queries that", "data:image/png"):
        assert text in page
    for text in ("Picture of the space", "Outliers", "ir-measures 0."):
        assert text in page
    found = compared_as_json(compared)
    json.dumps(found)
    assert found["rows"][1]["against"]["ndcg@10"]["says"] in ("more than chance", "could be chance")
    worst = found["worse"][0]["queries"][0]
    assert worst["measures"][1] < worst["measures"][0]
    assert [text for text, relevant in worst["before"] if relevant]


def test_where_the_first_candidates_vectors_lie_is_looked_at(compared: Compared):
    found = compared.landscape
    assert found is not None
    assert sorted(found.sample.ids) == [each["_id"] for each in DOCUMENTS]
    assert found.sample.vectors.shape[1] == compared.rows[0].dimensions
    assert (found.hubness.documents, found.hubness.queries) == (len(DOCUMENTS), len(JUDGED))
    assert found.all_lonely is None or found.all_lonely >= len(found.lonely)


def test_without_matplotlib_a_page_says_what_it_leaves_out(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = as_page(compared)
    assert "data:image" not in page
    assert "A picture is left out: pictures need matplotlib" in page


def test_without_queries_the_way_to_some_is_said(films: Workshop, tmp_path: Path):
    none = write_config(tmp_path / "none.yaml", evaluation={"queries": {"none": {}}})
    with pytest.raises(EvaluationError, match=r"has no judged queries.*--queries"):
        evaluate(films.pipeline, overrides=[none])
    file = films.folder / "queries.jsonl"
    assert evaluate(films.pipeline, overrides=[none], queries=file).answerable == len(JUDGED)
    with pytest.raises(ConfigurationError, match="no file of judged queries"):
        evaluate(films.pipeline, queries="queries.docx")


def test_another_source_is_no_candidate(films: Workshop, tmp_path: Path):
    limited = write_config(tmp_path / "limited.yaml", source={"limit": 3})
    with pytest.raises(ConfigurationError, match=r"limited.yaml changes `source.limit`"):
        evaluate(films.pipeline, [limited])


def test_what_the_candidate_cannot_be_is_said_with_its_name(films: Workshop, tmp_path: Path):
    wrong = write_config(tmp_path / "wrong.yaml", vector_store={"dtype": "packed_bit"})
    with pytest.raises(ConfigurationError, match=r"candidate .*wrong.yaml: .*euclidean"):
        evaluate(films.pipeline, [wrong])


def test_a_query_that_cannot_be_asked_is_named(films: Workshop, tmp_path: Path):
    line = {"id": "mine", "query": "tide", "relevant": [0], "filter": {"year": 3}}
    path = tmp_path / "queries.jsonl"
    path.write_text(json.dumps(line) + "\n", "utf-8")
    with pytest.raises(EvaluationError, match=r"judged query mine cannot be asked.*'year'"):
        evaluate(films.pipeline, queries=path)


def test_texts_that_the_model_refuses_are_misses_and_named(films: Workshop, tmp_path: Path):
    """A static model makes nothing of a text without a token that it knows."""
    source = tmp_path / "source.jsonl"
    texts = [*DOCUMENTS[:10], {"_id": 99, "text": "\u200b\u200b a", "kind": "none"}]
    source.write_text("".join(json.dumps(each) + "\n" for each in texts), "utf-8")
    path = tmp_path / "queries.jsonl"
    wanted = [
        {"id": "a", "query": "tide sea", "relevant": [0]},
        {"id": "b", "query": "\u200b", "relevant": [1]},
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in wanted), "utf-8")
    changed = write_config(tmp_path / "c.yaml", source={"origin": {"jsonl": {"path": str(source)}}})
    found = evaluate(films.pipeline, overrides=[changed], queries=path)
    assert found.rows[0].measures["success@1"].mean == 0.5
    assert any("1 queries have no vector, such as b" in note for note in found.rows[0].notes)


def test_vectors_in_place_are_compared_too_with_filters_and_words_of_their_documents(
    films: Workshop, chunked: str, tmp_path: Path
):
    database = films.client[films.database]
    words = [{**each, "title": f"title {each['_id']}"} for each in DOCUMENTS[:12]]
    database["inplace"].insert_many(words)
    settings: dict[str, Any] = {
        "source": {
            "origin": {"collection": {"database": films.database, "collection": "inplace"}},
            "carry": [],
        },
        "vector_store": {"in_place": True, "database": films.database, "collection": "inplace"},
        "search_index": {"filter_fields": ["kind"], "text": {"fields": ["title"]}},
    }
    line = {"id": "a", "query": "title 3", "relevant": [3], "filter": {"kind": "tide"}}
    path = tmp_path / "queries.jsonl"
    path.write_text(json.dumps(line) + "\n", "utf-8")
    inside = write_config(tmp_path / "inside.yaml", **settings)
    found = evaluate(
        films.pipeline, [chunked], overrides=[inside], queries=path, asked=Asked(modes=["text"])
    )
    mine = rows(found, BASELINE)
    assert mine["words"].measures["success@1"].mean == 1
    assert mine["64 float32"].measures["recall@100"].mean == 1
    # In place a document holds one vector; that it would need a collection is said by a run.
    assert rows(found, "chunked.yaml")["64 float32"].chunks > len(words)
    assert [*database["inplace"].find({"embedding": {"$exists": True}})] == []
