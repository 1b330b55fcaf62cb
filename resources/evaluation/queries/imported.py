"""Judged queries that `embeddings queries PIPELINE import` has put into a collection of ours."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pymongo.database import Database

from resources.core.errors import EvaluationError
from resources.core.moment import now
from resources.core.windows import sized_windows
from resources.evaluation.judged import JudgedQuery, QuerySet, digest
from resources.evaluation.queries.provider import QueriesProvider, Where
from resources.evaluation.queries.stored import SETS, KeptQueries

_AT_ONCE = 500
_PREFIX = "imported/"


class ImportedQueries(QueriesProvider):
    """What `embeddings queries PIPELINE import FILE` has put into the registry's database.

    Its collection `evaluation_queries` holds them, by pipeline; a file is not needed any more.
    """

    kind: Literal["imported"] = "imported"

    def open(self, where: Where) -> QuerySet:
        return ImportedSet(where.registry, where.pipeline)


@dataclass(frozen=True)
class Import:
    """What an import has come to.

    Attributes:
        queries: So many are in the set.
        digest: Of the set.
        changed: False where the same queries were there.
        replaced: So many were there before.
    """

    queries: int
    digest: str
    changed: bool
    replaced: int


class ImportedSet(QuerySet):
    """The imported queries of a pipeline."""

    def __init__(self, registry: Database, pipeline: str) -> None:
        self._registry, self._pipeline = registry, pipeline
        self._sets = registry[SETS]

    def __iter__(self) -> Iterator[JudgedQuery]:
        known = self._known()
        if known is None:
            raise EvaluationError(
                f"pipeline {self._pipeline} has no imported queries: "
                f"`embeddings queries {self._pipeline} import FILE` brings some"
            )
        count = 0
        for query in self._kept(known["set"]):
            count += 1
            yield query
        if count != known["queries"]:
            raise EvaluationError(
                f"the imported queries of {self._pipeline} were replaced while they were read, or "
                f"are damaged ({count:,} of {known['queries']:,} are there): try again, or import "
                "them again with --replace"
            )

    def describe(self) -> str:
        return "imported"

    def replace(self, queries: QuerySet, source: str, *, replace: bool) -> Import:
        """Put a set in the place of what is there; read whole before anything is written.

        Args:
            queries: The set, read twice.
            source: Where it comes from, for people.
            replace: Whether another set may be there.

        Raises:
            EvaluationError: It cannot be used, or there is another.
        """
        counted = _Counted(queries)
        name, known = digest(iter(counted)), self._known()
        before = known["queries"] if known else 0
        if known and known["digest"] == name:
            return Import(counted.count, name, changed=False, replaced=before)
        if known and not replace:
            raise EvaluationError(
                f"pipeline {self._pipeline} has another set of {before:,} queries, imported from "
                f"{known['source']} at {known['at']:%Y-%m-%d %H:%M}: --replace puts the "
                f"{counted.count:,} of {source} in its place; nothing is changed"
            )
        kept = self._kept(f"{_PREFIX}{secrets.token_hex(8)}")
        kept.prepare()
        try:
            self._write(kept, queries, counted.count, name, source)
        except BaseException:
            kept.remove()
            raise
        self._remove_others(kept.name)
        return Import(counted.count, name, changed=True, replaced=before)

    def _write(
        self, kept: KeptQueries, queries: QuerySet, count: int, name: str, source: str
    ) -> None:
        again = _Writing(kept)
        if digest(again.through(queries)) != name:
            raise EvaluationError(
                f"{source} changed while it was imported: import it again; nothing is changed"
            )
        found: dict[str, Any] = {
            "set": kept.name, "queries": count, "digest": name, "source": source, "at": now(),
        }  # fmt: skip
        self._sets.replace_one({"_id": self._pipeline}, found, upsert=True)

    def _remove_others(self, name: str) -> None:
        """What was there before, and what an import that was killed has left."""
        kept = self._kept(name)
        kept.collection.delete_many(
            {"pipeline": self._pipeline, "set": {"$ne": name, "$regex": f"^{_PREFIX}"}}
        )

    def imported_at(self) -> datetime | None:
        known = self._known()
        return known["at"] if known else None

    def _known(self) -> dict[str, Any] | None:
        return self._sets.find_one({"_id": self._pipeline})

    def _kept(self, name: str) -> KeptQueries:
        return KeptQueries(self._registry, self._pipeline, name)


class _Counted:
    def __init__(self, queries: QuerySet) -> None:
        self._queries, self.count = queries, 0

    def __iter__(self) -> Iterator[JudgedQuery]:
        self.count = 0
        for query in self._queries:
            self.count += 1
            yield query


class _Writing:
    """Writes queries down in windows, and passes them on."""

    def __init__(self, kept: KeptQueries) -> None:
        self._kept = kept

    def through(self, queries: QuerySet) -> Iterator[JudgedQuery]:
        for window in sized_windows(queries, _AT_ONCE, _size):
            self._kept.add(window)
            yield from window


def _size(query: JudgedQuery) -> int:
    return 200 + len(query.text) + 64 * len(query.judgements)
