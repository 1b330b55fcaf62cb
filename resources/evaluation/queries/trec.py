"""Judgements and queries in two files, as TREC and BEIR have them."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from resources.core.errors import EvaluationError, SourceError
from resources.evaluation.ids import Ids
from resources.evaluation.judged import JudgedQuery, Judgement, QuerySet
from resources.evaluation.queries.provider import QueriesProvider, Where
from resources.evaluation.queries.reading import IDS, Records, carrying
from resources.evaluation.queries.record import JudgedShape, judged_id, judgements, written_grade
from resources.evaluation.queries.scratch import SEEN, scratch, seen_before
from resources.evaluation.trec import token, untoken
from resources.sources.csv_files import CsvOrigin
from resources.sources.decoding import KEEP, wrong_byte
from resources.sources.json_files import JsonlOrigin
from resources.sources.locate import FoundFile, find_files, shown
from resources.sources.rejection import BadRecord
from resources.sources.text import TextField

_QRELS = (
    "CREATE TABLE qrels (query TEXT, document TEXT, grade INTEGER, place TEXT, "
    "PRIMARY KEY (query, document))"
)
_BEIR, _TREC = 3, 4
"""Columns: query, document, grade; TREC has one that means nothing after the query."""

_LONGEST = 1024**2
"""Line; what is longer is damage."""


class TrecQueries(QueriesProvider):
    """Judgements (qrels) and queries, as TREC and BEIR publish them.

    A query that has no judgement is left out; judgements of no query are refused.
    """

    kind: Literal["trec"] = "trec"
    qrels: str = Field(
        description="TREC's four columns (query, 0, document, grade), or BEIR's three under a line "
        "of names; a file, a glob or a URL."
    )
    topics: str = Field(
        description="The queries: a line each of id, tab and text; or BEIR's JSON lines of `_id` "
        "and `text`."
    )
    ids: Ids = Field(
        default="as_written",
        description=IDS + " As written, digits in TREC's four columns are an integer, 24 "
        "hexadecimal digits an ObjectId, and all else is text; BEIR's ids all are text.",
    )

    def open(self, where: Where) -> QuerySet:
        return _Judged(self)


class _Judged(QuerySet):
    def __init__(self, settings: TrecQueries) -> None:
        self._settings = settings
        self._left_out = 0

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]
        if not self._left_out:
            return ()
        return (f"{self._left_out:,} queries have no judgement, and are left out",)

    def describe(self) -> str:
        return f"trec {shown(self._settings.qrels)}, {shown(self._settings.topics)}"

    def __iter__(self) -> Iterator[JudgedQuery]:
        with scratch(_QRELS, SEEN) as file:
            opened = file.db
            self._read_qrels(opened)
            self._check_topics(opened)
            left_out = 0
            for query, judged in self._topics():
                found = self._judgements(opened, query.id)
                if not found and judged != []:
                    left_out += 1
                    continue
                yield JudgedQuery(query.id, query.text, found, query.filter, query.segments)
            self._left_out = left_out

    def _read_qrels(self, opened: sqlite3.Connection) -> None:
        try:
            for file in find_files(self._settings.qrels):
                for line in _qrels(file):
                    _add(opened, *line)
        except SourceError as error:
            raise EvaluationError(f"judgements: {error}") from error
        if not opened.execute("SELECT 1 FROM qrels LIMIT 1").fetchone():
            raise EvaluationError(
                f"{shown(self._settings.qrels)} holds no judgements: give it a line such as "
                "`query1 0 document7 1`"
            )

    def _check_topics(self, opened: sqlite3.Connection) -> None:
        """All that is wrong with queries and judgements together, before any is given away."""
        records, shape = self._records()
        for query, where, _ in carrying(records, shape):
            if first := seen_before(opened, query.id, where):
                raise EvaluationError(
                    f"{where}: the query id {query.id!r} is that of {first} too: take one out"
                )
        unknown = opened.execute(
            "SELECT query, min(place), count(*) FROM qrels WHERE query NOT IN (SELECT id FROM seen)"
            " GROUP BY query ORDER BY min(rowid) LIMIT 1"
        ).fetchone()
        if unknown:
            query, place, count = unknown
            raise EvaluationError(
                f"{place}: {count:,} judgements are of the query id {query!r}, which "
                f"{shown(self._settings.topics)} does not have: add the query, or take them out"
            )

    def _topics(self) -> Iterator[tuple[JudgedQuery, Any]]:
        records, shape = self._records()
        for query, _, carried in carrying(records, shape):
            yield query, carried["relevant"]

    def _records(self) -> tuple[Records, JudgedShape]:
        path = self._settings.topics
        # As we export them, a query that nothing answers says so.
        shape = JudgedShape("_id", TextField("text"), ("relevant",), "", "filter", "segments")
        if _is_json(path):
            return JsonlOrigin(path=path).records, shape
        origin = CsvOrigin(
            path=path, delimiter="\t", quote=None, header=False, columns=["_id", "text"]
        )
        return origin.records, shape

    def _judgements(self, opened: sqlite3.Connection, query: str) -> list[Judgement]:
        rows = opened.execute(
            "SELECT document, grade, place FROM qrels WHERE query = ? ORDER BY rowid", (query,)
        ).fetchall()
        place = rows[0][2] if rows else ""
        try:
            return judgements(
                (judged_id(untoken(document), self._settings.ids), grade)
                for document, grade, place in rows
            )
        except BadRecord as bad:
            raise EvaluationError(f"{place}: query {query!r}: {bad.reason}") from None


def _add(opened: sqlite3.Connection, query: str, document: str, grade: int, place: str) -> None:
    added = opened.execute(
        "INSERT OR IGNORE INTO qrels VALUES (?, ?, ?, ?)", (query, document, grade, place)
    ).rowcount
    if added:
        return
    first, at = opened.execute(
        "SELECT grade, place FROM qrels WHERE query = ? AND document = ?", (query, document)
    ).fetchone()
    if first != grade:
        raise EvaluationError(
            f"{place}: the document {document} is judged {grade} for the query {query!r}, and "
            f"{first} in {at}: keep one of the two"
        )


def _qrels(file: FoundFile) -> Iterator[tuple[str, str, int, str]]:
    """Query, document as a word of ours, grade and place of each line."""
    width, name = 0, file.name
    with file.reading(mode="r", encoding="utf-8-sig", errors=KEEP, compression="infer") as lines:
        for number, line in enumerate(iter(partial(lines.readline, _LONGEST), ""), start=1):
            words, place = line.split(), f"{name}:{number}"
            if not words:
                continue
            if (byte := wrong_byte(line)) is not None:
                raise EvaluationError(
                    f"{place}: not valid utf-8: it holds the byte {byte:#04x}; convert the file"
                )
            if len(words) not in (width or _BEIR, width or _TREC):
                raise EvaluationError(
                    f"{place}: {len(words)} columns, where judgements have four (query, 0, "
                    "document, grade), or three in BEIR's form; correct the line, or take it out"
                )
            first, width = not width, len(words)
            if first and width == _BEIR and not _number(words[2]):
                continue  # query-id corpus-id score
            query = untoken(words[0], bare_is_text=True)
            document = untoken(words[-2], bare_is_text=width == _BEIR)
            try:
                grade = written_grade(words[-1], document)
            except BadRecord as bad:
                raise EvaluationError(f"{place}: {bad.reason}") from None
            yield (query if isinstance(query, str) else words[0]), token(document), grade, place


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_json(path: str) -> bool:
    try:
        file = find_files(path)[0]
        with file.reading(
            mode="r", encoding="utf-8-sig", errors=KEEP, compression="infer"
        ) as lines:
            begun = (line.lstrip() for line in iter(partial(lines.readline, _LONGEST), ""))
            return next(filter(None, begun), "")[:1] in ("{", "[")
    except SourceError as error:
        raise EvaluationError(f"judged queries: {error}") from error
