"""Judged queries in files."""

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from resources.core.errors import EvaluationError
from resources.core.paths import input_path
from resources.evaluation.judged import JudgedQuery, Judgement, QuerySet
from resources.evaluation.queries.provider import QueriesProvider, Where


class JsonlQueries(QueriesProvider):
    """A query a line: {"id": …, "query": …, "relevant": […] or {…: grade}, "filter": {…}}."""

    kind: Literal["jsonl"] = "jsonl"
    path: str = Field(description="The file; a relative path starts at the project's folder.")

    def open(self, where: Where) -> QuerySet:
        return _Lines(self.path)


class _Lines(QuerySet):
    def __init__(self, path: str) -> None:
        self._path = path

    def __iter__(self) -> Iterator[JudgedQuery]:
        with open(input_path(self._path), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    record = json.loads(line)
                    relevant = record.get("relevant") or []
                    grades = relevant if isinstance(relevant, dict) else dict.fromkeys(relevant, 1)
                    judged = [Judgement(name, grade) for name, grade in grades.items()]
                    yield JudgedQuery(
                        str(record["id"]), record["query"], judged, record.get("filter")
                    )
                except (ValueError, KeyError, TypeError) as error:
                    raise EvaluationError(f"{self._path}, line {number}: {error}") from error

    def describe(self) -> str:
        return f"jsonl {self._path}"
