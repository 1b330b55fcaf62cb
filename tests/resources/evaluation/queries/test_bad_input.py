"""What is wrong with a judged set is said in one sentence that names file, line and way out."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bson.objectid import ObjectId
from pyarrow import parquet

from resources.core.errors import EvaluationError
from resources.evaluation.judged import JudgedQuery
from resources.evaluation.queries.files import CsvQueries, JsonlQueries, ParquetQueries
from resources.evaluation.queries.trec import TrecQueries

NOWHERE: Any = None
GOOD = '{"id": "a", "query": "what?", "relevant": ["d1"]}'


def jsonl(folder: Path, text: str | bytes, **settings: Any) -> list[JudgedQuery]:
    path = folder / "set.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(JsonlQueries(path=str(path), **settings).open(NOWHERE))


def csv(folder: Path, text: str, **settings: Any) -> list[JudgedQuery]:
    path = folder / "set.csv"
    path.write_bytes(text.encode())
    return list(CsvQueries(path=str(path), **settings).open(NOWHERE))


def trec(folder: Path, qrels: str | bytes, topics: str, **settings: Any) -> list[JudgedQuery]:
    paths = [folder / "set.qrels", folder / "set.topics"]
    paths[0].write_bytes(qrels if isinstance(qrels, bytes) else qrels.encode())
    paths[1].write_bytes(topics.encode())
    found = TrecQueries(qrels=str(paths[0]), topics=str(paths[1]), **settings)
    return list(found.open(NOWHERE))


def record(**fields: Any) -> str:
    return json.dumps({"id": "a", "query": "what?", "relevant": ["d1"], **fields})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"jsonl \S+set.jsonl holds no queries: give it one, such as"),
        ("\ufeff", "holds no queries"),
        (f"{GOOD}\n{GOOD}", r"set.jsonl:2: the query id 'a' is that of \S+set.jsonl:1 too: give"),
        (f"{GOOD}\n\n{{broken", r"set.jsonl:3: not JSON: .*; correct it, or take it out of the f"),
        (f"{GOOD}\n[]", "set.jsonl:2: JSON, but not an object; correct it"),
        (record(query=""), r"set.jsonl:1: the query \(field 'query'\) is empty; correct it"),
        (record(query="  "), "is only whitespace"),
        (record(query=5), "is a number, not text"),
        ('{"relevant": []}', r"the query \(field 'query'\) is missing"),
        (record(query="\ud800"), "lone surrogate"),
        (record(relevant="d1"), "field 'relevant' is text: it is a list of ids, of objects"),
        (record(relevant=5), "field 'relevant' is a number: it is a list"),
        (record(relevant=None), r"field 'relevant' is null: name the documents .* write \[\]"),
        ('{"query": "q"}', "field 'relevant' is missing: name the documents"),
        (record(relevant=[None]), "a judged id is null"),
        (record(relevant=[["d1"]]), "a judged id is a list"),
        (record(relevant={"d1": "high"}), "the grade of d1 is text: grades are whole numbers"),
        (record(relevant={"d1": "2"}), "the grade of d1 is text: grades are whole numbers"),
        (record(relevant={"d1": True}), "the grade of d1 is true or false: grades are"),
        (record(relevant={"d1": None}), "the grade of d1 is null: grades are"),
        (record(relevant={"d1": 0.5}), "the grade of d1 is 0.5: grades are whole numbers up to"),
        (record(relevant={"d1": float("nan")}), "the grade of d1 is nan: grades are"),
        (record(relevant={"d1": float("inf")}), "the grade of d1 is inf: grades are"),
        (record(relevant={"d1": 1001}), "the grade of d1 is 1001: .* up to 1,000"),
        (record(relevant={"d1": 10**18}), "up to 1,000"),
        (
            record(relevant=["d1", {"id": "d1", "grade": 2}]),
            "document d1 is judged twice, with the grades 1 and 2: keep one of them",
        ),
        (record(filter="kind"), r"the filter \(field 'filter'\) is text that is no JSON"),
        (record(filter=["kind"]), r"is a list: it is an object of conditions by field, such as"),
        (record(filter={"": 1}), "condition on a field without a name"),
        (record(filter={"a": {"$oid": "no"}}), "the filter .* cannot be stored"),
        (record(id={"a": 1}), "field 'id', the query's id, is an object"),
        (record(id=["a"]), "field 'id', the query's id, is a list"),
        (record(segments=["a"]), "the query's segments, is a list: it is an object of groups"),
        (b'{"query": "\xff"}', "set.jsonl:1: not valid utf-8 at byte 12"),
    ],
)  # fmt: skip
def test_of_a_jsonl(tmp_path: Path, text: str | bytes, said: str):
    with pytest.raises(EvaluationError, match=said):
        jsonl(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "set.csv is empty: its first row must name the columns"),
        ("query,relevant\n", "holds no queries"),
        ("query\nwhat?\n", "has no column 'relevant', which the setting relevant_field asks for"),
        ("query,relevant\nwhat?,d1:high\n", "set.csv:2: the grade of d1 is 'high', no number"),
        ("query,relevant\nwhat?,d1:1.5\n", "the grade of d1 is 1.5: grades are whole numbers"),
        ("query,relevant\nwhat?,d1:nan\n", "the grade of d1 is nan"),
        ("query,relevant\nwhat?,d1:1;d1:2\n", "document d1 is judged twice"),
        ("query,relevant\n,d1\n", "the query .* is empty"),
        ("query,relevant\nwhat?,[d1\n", "field 'relevant' is text that is no JSON"),
        ("id,query,relevant\na,b,c\na,d,e\n", r"set.csv:3: the query id 'a' is that of \S+:2 too"),
        ("query,relevant\nwhat?,d1,d2\n", "3 columns where the header has 2"),
    ],
)
def test_of_a_csv(tmp_path: Path, text: str, said: str):
    with pytest.raises(EvaluationError, match=said):
        csv(tmp_path, text)


TOPICS = "q1\twhat?\nq2\twho?\n"


@pytest.mark.parametrize(
    ("qrels", "topics", "said"),
    [
        ("", TOPICS, "set.qrels holds no judgements: give it a line such as"),
        ("query-id\tcorpus-id\tscore\n", TOPICS, "set.qrels holds no judgements"),
        ("q1 0 d1 1\n", "", r"set.qrels:1: 1 judgements are of the query id 'q1', which \S+topics"),
        ("q1 0 d1 1\nq7 0 d1 1\nq7 0 d2 1", TOPICS, r"qrels:2: 2 judgements are of .* 'q7'"),
        (
            "q1 0 d1 1\nq1 0 d1 2\n",
            TOPICS,
            r"qrels:2: the document d1 is judged 2 .* and 1 in .*:1",
        ),
        ("q1 0 d1\n", TOPICS, "set.qrels holds no judgements"),
        ("q1 0 d1 1\nq1 d2 1\n", TOPICS, "qrels:2: 3 columns, where judgements have four"),
        ("q1 0 d1 high\n", TOPICS, "qrels:1: the grade of d1 is 'high', no number: grades are"),
        ("q1 0 d1 0.5\n", TOPICS, "qrels:1: the grade of d1 is 0.5: grades are whole"),
        ("q1 0 d1 nan\n", TOPICS, "qrels:1: the grade of d1 is nan: grades are whole"),
        ("q1 0 d1 1 x\n", TOPICS, "qrels:1: 5 columns"),
        (b"q1 0 \xff 1\n", TOPICS, "qrels:1: not valid utf-8: it holds the byte 0xff"),
        ("q1 0 d1 1\n", "q1\twhat?\nq1\twho?\n", "topics:2: the query id 'q1' is that of"),
        ("q1 0 d1 1\n", "q1 what?\n", "topics:1: 1 columns where the header has 2"),
        ("q1 0 d1 1\n", "q1\t\n", "topics:1: the query .* is empty"),
        ("q1 0 d1 1\n", '{"_id": "q1"}', "topics:1: the query .field 'text'. is missing"),
    ],
)
def test_of_qrels(tmp_path: Path, qrels: str | bytes, topics: str, said: str):
    with pytest.raises(EvaluationError, match=said):
        trec(tmp_path, qrels, topics)


def test_a_file_that_is_not_there(tmp_path: Path):
    missing = str(tmp_path / "none")
    for found in (JsonlQueries(path=missing), TrecQueries(qrels=missing, topics=missing)):
        with pytest.raises(EvaluationError, match=r"there is no file \S+none"):
            list(found.open(NOWHERE))


@pytest.mark.parametrize(
    ("ids", "written", "said"),
    [
        ("integer", "d1", "the judged id d1 cannot be an id of `ids: integer`"),
        ("integer", str(2**63), "cannot be an id"),
        ("objectid", "5", "the judged id 5 cannot be an id of `ids: objectid`"),
        ("uuid", "5", "cannot be an id"),
        ("text", {"a": 1}, 'the judged id {"a": 1} cannot be an id of `ids: text`'),
    ],
)
def test_an_id_that_cannot_be_had_in_the_type_that_is_asked_for(
    tmp_path: Path, ids: Any, written: Any, said: str
):
    with pytest.raises(EvaluationError, match=said):
        jsonl(tmp_path, record(relevant=[written]), ids=ids)


# --- what is no fault


def test_a_byte_order_mark_and_blank_lines_are_no_fault(tmp_path: Path):
    (query,) = jsonl(tmp_path, f"\ufeff{GOOD}\n\n")
    assert (query.id, query.text, query.grades) == ("a", "what?", {"sd1": 1})
    (query,) = csv(tmp_path, "\ufeffquery,relevant\nwhat?,d1\n")
    assert query.grades == {"sd1": 1}
    (query,) = trec(tmp_path, "\ufeffq1\t0\td1\t1\r\n", "\ufeffq1\twhat?\r\n")
    assert (query.id, query.text, query.grades) == ("q1", "what?", {"sd1": 1})


@pytest.mark.parametrize(
    "relevant",
    [
        {"d1": 2, "d2": 0, "d3": -1, "d4": 1},
        [{"id": "d1", "grade": 2.0}, {"id": "d2", "grade": 0}, {"id": "d3", "grade": -1}, "d4"],
        '[{"id": "d1", "grade": 2}, {"id": "d2", "grade": 0}, {"id": "d3", "grade": -1}, "d4"]',
        [{"id": "d1", "grade": {"$numberLong": "2"}}, "d4", {"id": "d4"}],
    ],
)
def test_relevant_is_written_in_several_ways(tmp_path: Path, relevant: Any):
    (query,) = jsonl(tmp_path, record(relevant=relevant))
    assert query.grades == {"sd1": 2, "sd4": 1}
    cell = relevant if isinstance(relevant, str) else json.dumps(relevant)
    doubled = cell.replace('"', '""')
    (query,) = csv(tmp_path, f'query,relevant\nwhat?,"{doubled}"\n')
    assert query.grades == {"sd1": 2, "sd4": 1}


def test_a_cell_holds_ids_between_separators(tmp_path: Path):
    text = "query,relevant\nwhat?,d1:2; d2 ;http://x/d3:0;\nnothing?,\n"
    first, second = csv(tmp_path, text, grade_separator=":")
    assert [(each.id, each.grade) for each in first.judgements][:2] == [("d1", 2), ("d2", 1)]
    assert not second.judgements
    (query,) = csv(tmp_path, "query,relevant\nwhat?,a:1|b:2\n", separator="|", grade_separator=None)
    assert set(query.grades) == {"sa:1", "sb:2"}


def test_a_query_without_an_id_is_named_after_what_it_asks(tmp_path: Path):
    lines = [
        '{"query": "what?", "relevant": []}',
        '{"query": "what?", "relevant": [], "filter": {"kind": "film"}}',
        '{"query": "who?", "relevant": []}',
    ]
    names = [query.id for query in jsonl(tmp_path, "\n".join(lines))]
    assert len(set(names)) == 3
    assert [query.id for query in jsonl(tmp_path, "\n".join(reversed(lines)))] == names[::-1]
    with pytest.raises(EvaluationError, match=r"set.jsonl:2: the query id 'q\w+' is that of"):
        jsonl(tmp_path, f"{lines[0]}\n{lines[0]}")


def test_extended_json_is_what_it_stands_for(tmp_path: Path):
    oid = ObjectId()
    (query,) = jsonl(
        tmp_path,
        record(
            relevant=[{"$oid": str(oid)}, {"id": {"$numberInt": "5"}, "grade": 3}],
            filter={"year": {"$gte": {"$date": "2020-01-01T00:00:00Z"}}},
        ),
    )
    assert query.grades == {f"o{oid}": 1, "n5": 3}
    assert query.filter is not None
    assert query.filter["year"]["$gte"].year == 2020


@pytest.mark.parametrize(
    ("ids", "written", "keys"),
    [
        ("integer", ["5", 7, "007", 9.0], {"n5", "n7", "n9"}),
        ("text", [5, "7", 9.0], {"s5", "s7", "s9"}),
        ("objectid", ["A" * 24], {"o" + "a" * 24}),
        ("uuid", ["00000000-0000-0000-0000-00000000000a"], {"x4:" + "0" * 31 + "a"}),
        ("as_written", ["5", 5], {"s5", "n5"}),
    ],
)
def test_ids_are_converted(tmp_path: Path, ids: Any, written: list[Any], keys: set[str]):
    (query,) = jsonl(tmp_path, record(relevant=written), ids=ids)
    assert set(query.grades) == keys


def test_qrels_of_trec_and_of_beir(tmp_path: Path):
    beir = "query-id\tcorpus-id\tscore\nq1\t184\t2\nq1\td 2\t1\n".replace("d 2", "d2")
    corpus = '{"_id": "q1", "text": "what?"}\n{"_id": "q2", "text": "not judged"}\n'
    (query,) = trec(tmp_path, beir, corpus)
    assert query.grades == {"s184": 2, "sd2": 1}
    first, second = trec(tmp_path, "q1 0 184 2\nq2 0 d2 -1\nq1 Q0 d3 0\n", TOPICS)
    assert first.grades == {"n184": 2}
    assert [each.grade for each in first.judgements] == [2, 0]
    assert not second.answerable
    (query,) = trec(tmp_path, "q1 0 184 2\n", TOPICS, ids="text")
    assert query.grades == {"s184": 2}


def test_queries_without_a_judgement_are_left_out_and_counted(tmp_path: Path):
    paths = [tmp_path / "q", tmp_path / "t"]
    paths[0].write_text("q1 0 d1 1\n", "utf-8")
    paths[1].write_text(TOPICS, "utf-8")
    found = TrecQueries(qrels=str(paths[0]), topics=str(paths[1])).open(NOWHERE)
    assert [query.id for query in found] == ["q1"]
    assert list(found.notes) == ["1 queries have no judgement, and are left out"]


def test_parquet_has_lists_structs_maps_and_json(tmp_path: Path):
    graded = [{"id": "d1", "grade": 2}]
    columns = {
        "lists": pa.array([["d1"]]),
        "structs": pa.array([graded]),
        "maps": pa.array([[("d1", 2)]], pa.map_(pa.string(), pa.int64())),
        "json": pa.array([json.dumps(graded)]),
        "integers": pa.array([[5]]),
    }
    for name, column in columns.items():
        path = tmp_path / f"{name}.parquet"
        filters = pa.array(['{"kind": "film"}'])
        table = pa.table({"query": ["what?"], "relevant": column, "filter": filters})
        parquet.write_table(table, path)
        (query,) = ParquetQueries(path=str(path)).open(NOWHERE)
        grade = 1 if name in ("lists", "integers") else 2
        assert query.grades == {"n5" if name == "integers" else "sd1": grade}
        assert query.filter == {"kind": "film"}
    (tmp_path / "none.parquet").write_bytes(b"not parquet")
    with pytest.raises(EvaluationError, match=r"none.parquet is not a Parquet file"):
        list(ParquetQueries(path=str(tmp_path / "none.parquet")).open(NOWHERE))
