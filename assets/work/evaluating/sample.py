"""One sample of the source for all that is compared: what the queries judge, and distractors.

The source is read once. Texts lie in a temporary SQLite file, so that memory does not grow with the
corpus, the sample or the number of queries.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pymongo

from resources.core.errors import EvaluationError
from resources.core.footprint import footprint
from resources.core.keys import decode, encode, key, shown
from resources.core.progress import Progress
from resources.core.windows import WINDOW_BYTES, sized_windows, windows
from resources.core.working_file import WorkingFile
from resources.evaluation.ids import suggestion
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.sources.records import RenderedDocument, SourceDocument
from resources.sources.resource import SourceResource
from resources.sources.text import TextField, TextTemplate

SEED = 20_261_126
NAMED = 10
"""Relevant documents that are not there are named up to so many."""
_ROWS = 1_000


@dataclass(frozen=True)
class Corpus:
    """What the whole source has, counted while the sample was drawn from it.

    Attributes:
        documents: That make a text in at least one way.
        rejected: Records that make none.
        characters: Of all texts, for each way of making them; likewise `texts`.
    """

    documents: int
    rejected: int
    characters: Sequence[int]
    texts: Sequence[int]


@dataclass(frozen=True)
class Drawn:
    """What came to be in the sample.

    Attributes:
        relevant: Documents that a query judges to be an answer.
        distractors: Others.
        absent: Relevant documents that the source does not have, and the first of them.
    """

    relevant: int
    distractors: int
    absent: int
    absent_ids: Sequence[str]

    @property
    def documents(self) -> int:
        return self.relevant + self.distractors


class Sample(WorkingFile):
    """Queries and documents that every candidate sees, on disk until this is closed.

    Attributes:
        db: Also for who keeps more there.
        corpus: After `draw`; likewise `drawn`.
    """

    corpus: Corpus
    drawn: Drawn

    def __init__(self) -> None:
        # What may be long stands last in a row: the rest is read without it.
        super().__init__(
            "the sample's",
            """
            CREATE TABLE queries (
                seq INTEGER PRIMARY KEY, answerable INTEGER, id TEXT, filter TEXT, segments TEXT,
                judgements TEXT, text TEXT
            );
            CREATE TABLE judged (key TEXT PRIMARY KEY, met INTEGER, id TEXT) WITHOUT ROWID;
            CREATE TABLE documents (
                seq INTEGER PRIMARY KEY, key TEXT UNIQUE, hash BLOB, id TEXT, fields TEXT
            );
            CREATE TABLE texts (
                document INTEGER, way INTEGER, text TEXT, UNIQUE (document, way)
            )
            """,
        )

    # --- queries

    def take(self, queries: Iterable[JudgedQuery]) -> None:
        """Keep the queries, in their order.

        Raises:
            EvaluationError: There are none, or none of them has a relevant document.
        """
        for window in windows(queries, _ROWS):
            self.db.executemany(
                "INSERT INTO queries (answerable, id, filter, segments, judgements, text) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (each.answerable, each.id,
                     None if each.filter is None else encode(dict(each.filter)),
                     json.dumps(dict(each.segments)),
                     json.dumps([[encode(one.id), one.grade] for one in each.judgements]),
                     each.text)
                    for each in window
                ),
            )  # fmt: skip
            self.db.executemany(
                "INSERT OR IGNORE INTO judged VALUES (?, 0, ?)",
                (
                    (key(one.id), encode(one.id))
                    for each in window
                    for one in each.judgements
                    if one.grade > 0
                ),
            )
        if not self.count("queries WHERE answerable"):
            raise EvaluationError(
                "there is no judged query with a relevant document, so nothing can be measured: "
                "give `evaluation` others, such as `queries: {generated: {from: first_sentence}}`"
            )

    def queries(self, at_once: int, *, answerable: bool = True) -> Iterator[list[JudgedQuery]]:
        """Windows of the queries in their order: those that something answers, or all."""
        which = "WHERE answerable" if answerable else ""
        rows = self._paged(
            f"SELECT seq, id, filter, segments, judgements, text FROM queries {which}"
        )
        for window in sized_windows(rows, at_once, footprint, WINDOW_BYTES):
            yield [_query(*row[1:]) for row in window]

    # --- documents

    def draw(
        self,
        source: SourceResource,
        client: pymongo.MongoClient | None,
        *,
        texts: Sequence[TextField | TextTemplate],
        carry: Sequence[str],
        size: int,
        log: Any,
    ) -> None:
        """Read the source once, and keep what is judged, and of the others by a hash of their id.

        The same documents every time, in whatever order the source has them.

        Args:
            source: Of the pipeline.
            client: Where it is a collection.
            texts: The ways in which texts are made of a record.
            carry: Fields that filters and text searches look at.
            size: So many documents in all, where there are as many; relevant ones may be more.
            log: Takes lines of progress.

        Raises:
            EvaluationError: No relevant document is in the source.
        """
        documents = rejected = others = 0
        characters, made = [0] * len(texts), [0] * len(texts)
        limit: bytes | None = None  # above it, no document can be among the chosen any more
        progress = Progress(log, "records read")
        for record in source.read_many(client, texts, carry):
            progress.advance(1)
            if not isinstance(record, RenderedDocument):
                rejected += 1
                continue
            name = key(record.id)
            digest = hashlib.blake2b(
                f"{SEED} {name}".encode("utf-8", "surrogatepass"), digest_size=16
            ).digest()
            judged = self.db.execute(
                "UPDATE judged SET met = 1 WHERE key = ? AND NOT met", (name,)
            ).rowcount
            if not judged and (self._known(name) or self._met(name)):
                continue  # another record has the same id; the first one counts
            documents += 1
            for way, text in enumerate(record.texts):
                if text is not None:
                    characters[way] += len(text)
                    made[way] += 1
            if judged:
                self._keep(name, None, record)
            elif limit is None or digest < limit:
                self._keep(name, digest, record)
                others += 1
                if others >= 2 * size + _ROWS:
                    limit, others = self._thin(size), size
        progress.finish()
        self.corpus = Corpus(documents, rejected, characters, made)
        relevant = self.count("documents WHERE hash IS NULL")
        if not relevant:
            raise EvaluationError(self._nothing_relevant(source))
        room = max(0, size - relevant)
        self._thin(room)
        absent = self.count("judged WHERE NOT met")
        named = self.db.execute(
            "SELECT id FROM judged WHERE NOT met ORDER BY key LIMIT ?", (NAMED,)
        )
        self.drawn = Drawn(
            relevant,
            self.count("documents") - relevant,
            absent,
            [shown(decode(row[0])) for row in named],
        )

    def _nothing_relevant(self, source: SourceResource) -> str:
        (judged,) = self.db.execute("SELECT id FROM judged ORDER BY key LIMIT 1").fetchone()
        there = self.db.execute("SELECT id FROM documents ORDER BY key LIMIT 1").fetchone()
        example = f", ids there look like {there[0]}" if there else ""
        rows = self.db.execute("SELECT id FROM judged ORDER BY key")
        found = suggestion((decode(row[0]) for row in rows), self._drawn)
        # With the documents that the sample kept: which type it is, not how many there are.
        way_out = (
            f"set `ids: {found.ids}` beside the queries"
            if found
            else "give `evaluation` queries that were judged on this source"
        )
        return (
            f"none of the documents that the queries call relevant, such as {judged}, is in the "
            f"source, {source.describe()}{example}: {way_out}"
        )

    def _drawn(self, ids: Sequence[Any]) -> set[str]:
        return {name for name in map(key, ids) if self._known(name)}

    def _known(self, name: str) -> bool:
        found = self.db.execute("SELECT 1 FROM documents WHERE key = ?", (name,)).fetchone()
        return found is not None

    def _met(self, name: str) -> bool:
        return self.db.execute("SELECT 1 FROM judged WHERE key = ?", (name,)).fetchone() is not None

    def _keep(self, name: str, digest: bytes | None, record: RenderedDocument) -> None:
        seq = self.db.execute(
            "INSERT INTO documents (key, hash, id, fields) VALUES (?, ?, ?, ?)",
            (name, digest, encode(record.id), encode(dict(record.fields))),
        ).lastrowid
        self.db.executemany(
            "INSERT INTO texts VALUES (?, ?, ?)",
            ((seq, way, text) for way, text in enumerate(record.texts) if text is not None),
        )

    def _thin(self, size: int) -> bytes | None:
        """Keep so many of the documents that nobody judged, those of the smallest hashes."""
        found = self.db.execute(
            "SELECT hash FROM documents WHERE hash IS NOT NULL ORDER BY hash LIMIT 1 OFFSET ?",
            (size,),
        ).fetchone()
        if found is None:
            return None
        self.db.execute(
            "DELETE FROM texts WHERE document IN (SELECT seq FROM documents WHERE hash >= ?)", found
        )
        self.db.execute("DELETE FROM documents WHERE hash >= ?", found)
        return found[0]

    def documents(self, way: int) -> Iterator[tuple[int, SourceDocument]]:
        """In the order of their keys, those that make a text in this way, each with its number."""
        last = ""
        while page := self.db.execute(
            "SELECT key, seq FROM documents WHERE key > ? ORDER BY key LIMIT ?", (last, _ROWS)
        ).fetchall():
            last = page[-1][0]
            for _, seq in page:
                row = self.db.execute(
                    "SELECT id, fields, text FROM documents JOIN texts ON document = seq "
                    "WHERE seq = ? AND way = ?",
                    (seq, way),
                ).fetchone()
                if row is not None:
                    yield seq, SourceDocument(decode(row[0]), row[2], decode(row[1]))

    def text(self, name: str, way: int) -> str | None:
        """Of the document of this key; None where the sample has none."""
        found = self.db.execute(
            "SELECT text FROM documents JOIN texts ON document = seq WHERE key = ? AND way = ?",
            (name, way),
        ).fetchone()
        return found[0] if found else None

    def digest(self) -> str:
        """The same for the same documents with the same texts."""
        found = hashlib.sha256()
        for _, document in self.documents(0):
            found.update(f"{key(document.id)}\n{document.text}\n".encode("utf-8", "surrogatepass"))
        return found.hexdigest()[:16]

    def count(self, what: str) -> int:
        return self.db.execute(f"SELECT count(*) FROM {what}").fetchone()[0]

    def _paged(self, select: str) -> Iterator[tuple[Any, ...]]:
        """Rows by their first column, a page at a time: others may be written meanwhile."""
        last = -1
        column = select.split()[1].rstrip(",")
        joint = "AND" if " WHERE " in select else "WHERE"
        while page := self.db.execute(
            f"{select} {joint} {column} > ? ORDER BY {column} LIMIT ?", (last, _ROWS)
        ).fetchall():
            last = page[-1][0]
            yield from page


def _query(
    name: str, condition: str | None, segments: str, judgements: str, text: str
) -> JudgedQuery:
    return JudgedQuery(
        name,
        text,
        [Judgement(decode(each), grade) for each, grade in json.loads(judgements)],
        None if condition is None else decode(condition),
        json.loads(segments),
    )
