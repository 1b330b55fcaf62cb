"""Judged queries that we keep: the collections `evaluation_queries` and `evaluation_sets`.

A query is one document, `{pipeline, set, id, query, relevant: [{id, grade}], filter, segments}`,
with its lineage where a model wrote it. Of a pipeline's imported sets, `evaluation_sets` says which
is the whole one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bson import json_util
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.database import Database

from resources.core.keys import EXACT, WRITTEN
from resources.evaluation.judged import JudgedQuery, Judgement, QuerySet
from resources.sources.values import bson_value

QUERIES, SETS = "evaluation_queries", "evaluation_sets"


class KeptQueries:
    """The queries of one pipeline and one set.

    Args:
        registry: The database.
        pipeline: Whose they are.
        of_set: Its name.
    """

    def __init__(self, registry: Database, pipeline: str, of_set: str) -> None:
        self.name, self._pipeline = of_set, pipeline
        self.collection: Collection[dict[str, Any]] = registry.get_collection(QUERIES, EXACT)
        self._written = registry.get_collection(QUERIES, WRITTEN)

    @property
    def which(self) -> dict[str, Any]:
        return {"pipeline": self._pipeline, "set": self.name}

    def prepare(self) -> None:
        """Create the index that finds them, and lets none be there twice."""
        self.collection.create_index([("pipeline", 1), ("set", 1), ("id", 1)], unique=True)

    def __iter__(self) -> Iterator[JudgedQuery]:
        with self.collection.find(self.which).sort("id", 1) as found:
            for entry in found:
                yield _query(entry)

    def count(self) -> int:
        return self.collection.count_documents(self.which)

    def add(self, queries: Iterable[JudgedQuery]) -> None:
        """Write down queries that are not there yet."""
        if entries := [{**self.which, **_entry(query)} for query in queries]:
            self._written.insert_many(entries)

    def put(self, queries: Iterable[JudgedQuery], lineage: Mapping[str, Any]) -> None:
        """Write queries down, together, each with its lineage; also if they are there."""
        self._written.bulk_write(
            [
                ReplaceOne(
                    {**self.which, "id": query.id},
                    {**self.which, **_entry(query), **lineage},
                    upsert=True,
                )
                for query in queries
            ]
        )

    def remove(self) -> None:
        self.collection.delete_many(self.which)


class StoredQueries(QuerySet):
    """A set of kept queries."""

    def __init__(self, kept: KeptQueries, said: str, notes: tuple[str, ...] = ()) -> None:
        self._kept, self._said, self.notes = kept, said, notes

    def __iter__(self) -> Iterator[JudgedQuery]:
        return iter(self._kept)

    def describe(self) -> str:
        return self._said


def _entry(query: JudgedQuery) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": query.id,
        "query": query.text,
        "relevant": [{"id": each.id, "grade": each.grade} for each in query.judgements],
    }
    if query.filter:
        # As text: not every server takes operators for names of fields.
        options = json_util.CANONICAL_JSON_OPTIONS
        found["filter"] = json_util.dumps(query.filter, json_options=options)
    if query.segments:
        found["segments"] = [[name, group] for name, group in query.segments.items()]
    return found


def _query(entry: Mapping[str, Any]) -> JudgedQuery:
    condition = entry.get("filter")
    return JudgedQuery(
        entry["id"],
        entry["query"],
        [Judgement(each["id"], each["grade"]) for each in entry["relevant"]],
        bson_value(json.loads(condition)) if condition else None,
        dict(entry.get("segments") or ()),
    )
