"""Judged queries read from records: the first that cannot be used ends the reading, by name."""

from collections.abc import Callable, Iterator

from pydantic import Field, field_validator

from resources.core.errors import EvaluationError, SourceError
from resources.evaluation.ids import Ids
from resources.evaluation.judged import JudgedQuery, QuerySet
from resources.evaluation.queries.provider import QueriesProvider
from resources.evaluation.queries.record import JudgedShape
from resources.evaluation.queries.scratch import SEEN, scratch, seen_before
from resources.sources.fields import check_path
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.text import TextField

Records = Callable[[JudgedShape], Iterator[SourceDocument | RejectedRecord]]

IDS = (
    "Of which type the judged ids are in the source: `as_written`, or converted on reading to "
    "`text`, `integer`, `objectid` or `uuid`, for files that know only text."
)


class JudgedRecords(QueriesProvider):
    """Settings of queries that stand in records, each with the ids of what answers it."""

    query_field: str = Field(default="query", description="What is asked; dotted if nested.")
    relevant_field: str = Field(
        default="relevant",
        description="Source documents that answer it: a list of ids, of objects "
        '{"id": …, "grade": …}, or an object of grades by id; [] where nothing does. Grades are '
        "whole numbers, the higher the better, 1 where none is given; 0 and below: looked at, and "
        "no answer.",
    )
    filter_field: str = Field(
        default="filter",
        description="MQL over the index's filter fields that the query is asked with, where a "
        "record has it: an object, or text that holds one as JSON.",
    )
    id_field: str = Field(
        default="id",
        description="The query's name; one that has none is named after what it asks.",
    )
    segments_field: str = Field(
        default="segments",
        description="Groups that the query belongs to, where a record has them: an object of "
        "groups by name.",
    )
    ids: Ids = Field(default="as_written", description=IDS)

    @field_validator(
        "query_field", "relevant_field", "filter_field", "id_field", "segments_field"
    )  # fmt: skip
    @classmethod
    def _field(cls, value: str) -> str:
        return check_path(value, "evaluation.queries")

    def shape(self, separator: str = "", grade_separator: str = "") -> JudgedShape:
        return JudgedShape(
            self.id_field,
            TextField(self.query_field),
            (),
            self.relevant_field,
            self.filter_field,
            self.segments_field,
            self.ids,
            separator,
            grade_separator,
        )


class RecordQueries(QuerySet):
    """Queries in records.

    Args:
        said: What they are, in a few words.
        records: Reads them anew, by their shape.
        shape: Where a record has what.
        held_by: What they are taken out of, for a person: `file`.
    """

    def __init__(
        self, said: str, records: Records, shape: JudgedShape, held_by: str = "file"
    ) -> None:
        self._said, self._records, self._shape = said, records, shape
        self._held_by = held_by

    def __iter__(self) -> Iterator[JudgedQuery]:
        with scratch(SEEN) as file:
            opened = file.db
            found = False
            for query, where in usable(self._records, self._shape, self._held_by):
                if first := seen_before(opened, query.id, where):
                    raise EvaluationError(
                        f"{where}: the query id {query.id!r} is that of {first} too: give one of "
                        "the two another id, or take it out"
                    )
                found = True
                yield query
        if not found:
            raise EvaluationError(
                f"{self._said} holds no queries: give it one, such as "
                '{"query": "who wrote it?", "relevant": ["some id"]}'
            )

    def describe(self) -> str:
        return self._said


def usable(
    records: Records, shape: JudgedShape, held_by: str = "file"
) -> Iterator[tuple[JudgedQuery, str]]:
    """Judged queries, each with its place.

    Raises:
        EvaluationError: One cannot be used, or they cannot be read.
    """
    for query, where, _ in carrying(records, shape, held_by):
        yield query, where


def carrying(
    records: Records, shape: JudgedShape, held_by: str = "file"
) -> Iterator[tuple[JudgedQuery, str, dict]]:
    """The same, each with what else of its record is carried."""
    try:
        for record in records(shape):
            if isinstance(record, RejectedRecord):
                raise EvaluationError(
                    f"{record.where}: {record.reason}; correct it, or take it out of the {held_by}"
                )
            yield record.fields["judged"], record.fields["where"], dict(record.fields)
    except SourceError as error:
        raise EvaluationError(f"judged queries: {error}") from error
