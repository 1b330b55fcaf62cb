"""The sample's documents, cut as a candidate cuts them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from assets.work.evaluating.sample import Sample
from resources.core.chunks import Chunk, size_of
from resources.core.keys import decode, encode
from resources.core.windows import sized_windows
from resources.embedders.packing import estimate_tokens
from resources.sources.chunking import Chunking

_ROWS = 500


@dataclass(frozen=True)
class Cutting:
    """A way from records to chunks.

    Attributes:
        way: Of making texts, by its number in the sample.
        chunking: What cuts them.
    """

    way: int
    chunking: Chunking

    @property
    def name(self) -> str:
        return f"{self.way} {self.chunking.describe()}"


class Pieces:
    """The chunks of one cutting, in the order of their documents.

    Attributes:
        number: Of the cutting, in the sample's file.
        rows: How many there are.
        documents: That they are of.
        characters: In their documents' texts.
        tokens: Of the chunks, as estimated.
    """

    def __init__(self, sample: Sample, number: int, cutting: Cutting) -> None:
        self._db, self.number, self.cutting = sample.db, number, cutting
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS pieces (cutting INTEGER, row INTEGER, hash TEXT, id TEXT, "
            "source TEXT, fields TEXT, text TEXT, PRIMARY KEY (cutting, row))"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS pieces_hash ON pieces (hash)")
        self.rows = self.documents = self.characters = self.tokens = 0
        for window in sized_windows(self._cut(sample), _ROWS, size_of):
            self._db.executemany(
                "INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (number, self.rows + at, chunk.text_hash, encode(chunk.id),
                     encode(chunk.source_id), encode(dict(chunk.fields)), chunk.text)
                    for at, chunk in enumerate(window)
                ),
            )  # fmt: skip
            self.rows += len(window)

    def _cut(self, sample: Sample) -> Iterator[Chunk]:
        for _, document in sample.documents(self.cutting.way):
            self.documents += 1
            self.characters += len(document.text)
            for chunk in self.cutting.chunking.chunks(document):
                self.tokens += estimate_tokens(chunk.text)
                yield chunk

    @property
    def one_chunk_each(self) -> bool:
        """Whether every document is one chunk, with the document's own id."""
        return self.cutting.chunking.describe() is None

    def ids(self) -> tuple[list[Any], list[Any]]:
        """Of the chunks, and of the documents that they are of."""
        found = self._db.execute(
            "SELECT id, source FROM pieces WHERE cutting = ? ORDER BY row", (self.number,)
        ).fetchall()
        ids = [decode(row[0]) for row in found]
        if self.one_chunk_each:
            return ids, ids
        return ids, [decode(row[1]) for row in found]

    def fields(self, start: int, stop: int) -> list[Any]:
        """What the chunks from one row to another carry."""
        found = self._db.execute(
            "SELECT fields FROM pieces WHERE cutting = ? AND row >= ? AND row < ? ORDER BY row",
            (self.number, start, stop),
        )
        return [decode(row[0]) for row in found]

    def documents_of(self, start: int, stop: int) -> Iterator[tuple[str, Any]]:
        """Text and carried fields of the chunks from one row to another."""
        for row in range(start, stop):
            text, fields = self._db.execute(
                "SELECT text, fields FROM pieces WHERE cutting = ? AND row = ?", (self.number, row)
            ).fetchone()
            yield text, decode(fields)

    def text(self, row: int) -> str:
        return self._db.execute(
            "SELECT text FROM pieces WHERE cutting = ? AND row = ?", (self.number, row)
        ).fetchone()[0]


def distinct(sample: Sample, pieces: Sequence[Pieces]) -> Iterator[Chunk]:
    """One chunk for every text of these, named by its hash: two cuttings may have one id."""
    db = sample.db
    db.execute("CREATE TABLE IF NOT EXISTS told (hash TEXT PRIMARY KEY) WITHOUT ROWID")
    db.execute("DELETE FROM told")
    for each in pieces:
        last = -1
        # A page of names at a time: rows are written meanwhile.
        while page := db.execute(
            "SELECT row, hash FROM pieces WHERE cutting = ? AND row > ? ORDER BY row LIMIT ?",
            (each.number, last, _ROWS),
        ).fetchall():
            last = page[-1][0]
            for row, text_hash in page:
                if db.execute("INSERT OR IGNORE INTO told VALUES (?)", (text_hash,)).rowcount:
                    yield Chunk(text_hash, text_hash, each.text(row), text_hash, {}, "")
