"""Judged queries in files of records."""

from typing import Literal

from pydantic import Field

from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.provider import Where
from resources.evaluation.queries.reading import JudgedRecords, RecordQueries
from resources.sources.csv_files import CsvOrigin
from resources.sources.json_files import JsonlOrigin
from resources.sources.parquet import ParquetOrigin


class JsonlQueries(JudgedRecords, JsonlOrigin):
    """A query a line: {"id": …, "query": …, "relevant": […] or {…: grade}, "filter": {…}}."""

    kind: Literal["jsonl"] = "jsonl"

    def open(self, where: Where) -> QuerySet:
        return RecordQueries(self.describe(), self.records, self.shape())


class CsvQueries(JudgedRecords, CsvOrigin):
    """A query a row, in columns of these names; the judged ids are one cell.

    It holds JSON, as in the other files, or ids between separators, each with its grade or
    without: `d17:2;d4;d92:1`. Without JSON ids are text.
    """

    kind: Literal["csv"] = "csv"
    separator: str = Field(
        default=";", min_length=1, description="Between the judged ids of a cell that is no JSON."
    )
    grade_separator: str | None = Field(
        default=":",
        description="Between such an id and its grade; null where ids hold it and have no grades.",
    )

    def open(self, where: Where) -> QuerySet:
        shape = self.shape(self.separator, self.grade_separator or "")
        return RecordQueries(self.describe(), self.records, shape)


class ParquetQueries(JudgedRecords, ParquetOrigin):
    """A query a row; judged ids are a list of ids or of {id, grade}, a map, or JSON as text."""

    kind: Literal["parquet"] = "parquet"

    def open(self, where: Where) -> QuerySet:
        return RecordQueries(self.describe(), self.records, self.shape())
