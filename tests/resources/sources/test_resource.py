"""The resource as Dagster configures it: from literal run-config YAML."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet
from pydantic import ValidationError
from pymongo import MongoClient
from pymongo.database import Database

from resources.sources.json_files import JsonlOrigin
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource
from tests.resources.sources.reading import read, source, write
from tests.workshop import Workshop

type_of_records = list[SourceDocument | RejectedRecord]


def run(config: str, client: MongoClient | None = None) -> type_of_records:
    """What an asset of a real run reads."""
    found: type_of_records = []

    @dg.asset
    def documents(source: SourceResource) -> None:
        found.extend(source.read(client))

    result = dg.materialize(
        [documents],
        resources={"source": SourceResource.configure_at_launch()},
        run_config=yaml.safe_load(config),
    )
    assert result.success
    return found


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path / "a.jsonl", '{"id": 1, "title": "A", "text": "x"}\n{"id": 2}\n')
    write(tmp_path / "a.csv", "id\ttitle\ttext\n1\tA\tx\n")
    table = pa.table({"id": [1], "title": ["A"], "text": ["x"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    write(tmp_path / "docs" / "a.md", "x")
    return tmp_path  # type: ignore[return-value]


def test_texts() -> None:
    found = run(
        """
        resources:
          source:
            config:
              origin:
                texts:
                  documents:
                    - Titanic
                    - {_id: m1, text: A giant., kind: short, tags: [a, {b: null}]}
                    - ""
                    - 7
                    - null
                    - {text: no id}
                    - {_id: {$oid: 65a1b2c3d4e5f60718293a4b}, text: an ObjectId}
              carry: [kind, tags]
        """
    )
    documents = [record for record in found if isinstance(record, SourceDocument)]
    assert documents[:2] == [
        SourceDocument(0, "Titanic"),
        SourceDocument("m1", "A giant.", {"kind": "short", "tags": ["a", {"b": None}]}),
    ]
    assert str(documents[2].id) == "65a1b2c3d4e5f60718293a4b"
    rejections = [record for record in found if isinstance(record, RejectedRecord)]
    assert [(rejection.id, rejection.where, rejection.reason) for rejection in rejections] == [
        (2, "documents[2]", "the text is empty"),
        (None, "documents[3]", "a document is text or an object, and this is a number"),
        (None, "documents[4]", "a document is text or an object, and this is null"),
        (None, "documents[5]", "id field '_id' is missing"),
    ]


def test_a_list_of_texts(workshop: Workshop) -> None:
    """From the pipeline's YAML, and overridden for one run."""
    documents = [{"_id": "a", "tags": ["sea", "ship"]}, {"_id": "b", "tags": "one text"}]
    workshop.configure(
        {
            "source": {
                "origin": {"texts": {"documents": documents}},
                "text": "tags",
                "carry": [],
            },
            "search_index": {"filter_fields": []},
        }
    )
    assert workshop.run().success
    assert list(workshop.stored()) == ["b"]
    assert "the setting join" in workshop.quarantine()["a"]
    workshop.configure({"source": {"join": ", "}})
    assert workshop.run().success
    assert {one["text"] for one in workshop.stored().values()} == {"sea, ship", "one text"}
    assert not workshop.quarantine()
    config = {"resources": {"source": {"config": {"join": "; "}}}}
    assert workshop.run(config=config).success
    assert {one["text"] for one in workshop.stored().values()} == {"sea; ship", "one text"}


def test_jsonl(records: Path) -> None:
    found = run(
        f"""
        resources:
          source:
            config:
              origin:
                jsonl: {{path: {records}/a.jsonl}}
              id_field: id
              text: text
              carry: [title, kind]
              limit: 100
        """
    )
    assert found[0] == SourceDocument(1, "x", {"title": "A"})
    assert isinstance(found[1], RejectedRecord)


def test_csv(records: Path) -> None:
    found = run(
        f"""
        resources:
          source:
            config:
              origin:
                csv: {{path: "{records}/*.csv", delimiter: "\\t", encoding: utf-8}}
              id_field: id
              text: "{{title}}: {{text}}"
        """
    )
    assert found == [SourceDocument("1", "A: x")]


def test_csv_written_otherwise(workshop: Workshop) -> None:
    """A null in the YAML is no quote, and a list names the columns."""
    write(workshop.folder / "a.tsv", '1\t"12" of snow\n2\t one\n')
    settings = {
        "path": str(workshop.folder / "a.tsv"),
        "delimiter": "\t",
        "quote": None,
        "header": False,
        "columns": ["_id", "text"],
        "skip_initial_space": True,
    }
    workshop.configure({"source": {"origin": {"csv": settings}, "carry": []}})
    workshop.configure({"search_index": {"filter_fields": []}})
    assert workshop.run().success
    assert {one["text"] for one in workshop.stored().values()} == {'"12" of snow', "one"}


def test_parquet(records: Path) -> None:
    found = run(
        f"""
        resources:
          source:
            config:
              origin:
                parquet: {{path: {records}/a.parquet}}
              id_field: id
        """
    )
    assert found == [SourceDocument(1, "x")]


def test_folder(records: Path) -> None:
    found = run(
        f"""
        resources:
          source:
            config:
              origin:
                folder: {{path: {records}/docs, patterns: ["*.md"]}}
              carry: [bytes]
        """
    )
    assert found == [SourceDocument("a.md", "x", {"bytes": 1})]


def test_collection(database: Database) -> None:
    database.listingsAndReviews.insert_many(
        {"_id": str(n), "summary": summary, "name": "n", "hidden": None}
        for n, summary in enumerate([None, "", *["A flat."] * 60])
    )
    found = run(
        f"""
        resources:
          source:
            config:
              origin:
                collection:
                  database: {database.name}
                  collection: listingsAndReviews
                  filter: {{summary: {{$exists: true, $nin: [null, ""]}}, hidden: null}}
              text: summary
              carry: [name]
              limit: 50
        """,
        database.client,
    )
    assert len(found) == 50
    assert set(map(type, found)) == {SourceDocument}
    assert found[0] == SourceDocument("2", "A flat.", {"name": "n"})


@pytest.mark.parametrize(
    "origin",
    [
        {},
        {"jsonl": {"path": "a"}, "csv": {"path": "a"}},
        {"jsonl": {"path": "a", "unknown": 1}},
        {"kind": "jsonl", "path": "a"},
        {"excel": {"path": "a"}},
        {"collection": {"database": "d"}},
    ],
)
def test_run_configs_that_dagster_refuses(origin: dict[str, Any]) -> None:
    @dg.asset
    def documents(source: SourceResource) -> None: ...

    job = dg.Definitions(
        assets=[documents],
        resources={"source": SourceResource.configure_at_launch()},
        jobs=[dg.define_asset_job("job")],
    ).resolve_job_def("job")
    good = {"resources": {"source": {"config": {"origin": {"jsonl": {"path": "a"}}}}}}
    assert dg.validate_run_config(job, good)
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, {"resources": {"source": {"config": {"origin": origin}}}})


JSONL = {"jsonl": {"path": "a.jsonl"}}


@pytest.mark.parametrize(
    ("origin", "settings", "sentence"),
    [
        (JSONL, {"text": ""}, "text is empty"),
        (JSONL, {"text": "{title!r}"}, "format or conversion"),
        (JSONL, {"id_field": ""}, "id_field: '' is no field name"),
        (JSONL, {"id_field": "{a}"}, "id_field: '{a}' holds brackets"),
        (JSONL, {"carry": ["a", ""]}, "carry: '' is no field name"),
        (JSONL, {"carry": ["a", "a"]}, "carry: 'a' is named twice"),
        (JSONL, {"carry": ["a.b", "a"]}, "carry: 'a' already includes 'a.b'"),
        (JSONL, {"limit": -1}, "greater than or equal to 1"),
        (JSONL, {"limit": 0}, "greater than or equal to 1"),
        (JSONL, {"limits": 5}, "Extra inputs are not permitted"),
        ({"jsonl": {"path": " "}}, {}, "path is empty"),
        ({"jsonl": {"path": "a", "encoding": "utf-16"}}, {}, "no plain line ends"),
        ({"jsonl": {"path": "a", "encoding": "base64"}}, {}, "'base64' is unknown"),
        ({"csv": {"path": "a", "encoding": "nope"}}, {}, "'nope' is unknown"),
        ({"csv": {"path": "a", "delimiter": ""}}, {}, "not one character"),
        ({"csv": {"path": "a", "delimiter": "||"}}, {}, "not one character"),
        ({"folder": {"path": ""}}, {}, "path is empty"),
        ({"folder": {"path": "a", "patterns": []}}, {}, "patterns is empty"),
        ({"folder": {"path": "a", "patterns": ["/a"]}}, {}, "no glob within the folder"),
        ({"folder": {"path": "a", "patterns": ["a**"]}}, {}, "cannot be read"),
        ({"collection": {"database": "", "collection": "c"}}, {}, "at least 1 character"),
        (
            {"collection": {"database": "d", "collection": "c", "batch_size": 0}},
            {},
            "greater than or equal to 1",
        ),
        (
            {"collection": {"database": "d", "collection": "c", "filter": {"a": {"$oid": "z"}}}},
            {},
            "Extended JSON that cannot be read: 'z' is not a valid ObjectId",
        ),
    ],
)
def test_settings_that_are_refused(origin: Any, settings: Any, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        source(origin, **settings)


def test_what_a_person_is_told() -> None:
    described = {
        "jsonl configs/quickstart.jsonl": {"jsonl": {"path": "configs/quickstart.jsonl"}},
        "csv s3://bucket/*.csv": {"csv": {"path": "s3://bucket/*.csv"}},
        "texts (2 in the configuration)": {"texts": {"documents": ["a", "b"]}},
        'collection d.c where {"a": {"$nin": [null, ""]}}': {
            "collection": {
                "database": "d",
                "collection": "c",
                "filter": {"a": {"$nin": [None, ""]}},
            }
        },
        "collection d.c": {"collection": {"database": "d", "collection": "c"}},
    }
    assert {source(origin).describe(): origin for origin in described.values()} == described
    assert source({"texts": {"documents": []}}).uri() is None
    assert not source({"texts": {"documents": []}}).needs_mongodb
    assert read(source({"texts": {"documents": []}})) == ([], [])


def test_configured_in_python_and_from_the_environment(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMS", f"{records}/a.jsonl")
    found = []

    @dg.asset
    def documents(source: SourceResource) -> None:
        found.extend(source.read(None))

    resource = SourceResource(origin=JsonlOrigin(path=dg.EnvVar("FILMS")), id_field="id", limit=1)
    assert dg.materialize([documents], resources={"source": resource}).success
    assert found == [SourceDocument(1, "x")]


def test_every_field_is_described() -> None:
    origins: Any = SourceResource.model_fields["origin"].annotation
    for model in (SourceResource, *origins.__args__):
        for name, field in model.model_fields.items():
            assert field.description or name == "kind", (model, name)
