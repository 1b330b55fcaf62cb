"""How texts become terms: by a tokenizer of SQLite's FTS5, for documents and queries alike."""

import functools
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from resources.search_index.local.text.connections import Connections

Tokenizer = Literal["unicode61", "porter", "trigram"]

MAX_TERMS = 64
"""Of a query: the first distinct ones. A text is as long as somebody likes, a search is not."""
MAX_CHARACTERS = 10_000
"""Of a query; the rest is not looked at."""

# Diacritics: 2 takes them off from letters that have two of them, too.
_OPTIONS = {
    "unicode61": "unicode61 remove_diacritics 2",
    "porter": "porter unicode61 remove_diacritics 2",
    "trigram": "trigram",
}
# Behind every text, so that a trigram begins at each of its characters: then a document has a text
# of one or two characters in it exactly where one of its trigrams begins so.
_PADDING = "\n\n"
# Scripts that are written without spaces, and Korean, which glues its particles to the words.
_DENSE = re.compile(
    "([\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff]+)"
)


@dataclass(frozen=True)
class Term:
    """What is looked for.

    Attributes:
        text: In UTF-8, as FTS5 writes it down.
        prefix: Whether every term that begins so is meant.
    """

    text: bytes
    prefix: bool = False


INSERT = "INSERT INTO texts (rowid, text) VALUES (?, ?)"


def create_table(connection: sqlite3.Connection, tokenizer: Tokenizer) -> None:
    """An FTS5 table `texts` for what `prepared` gives, and `instances` of its terms."""
    connection.execute(
        f"CREATE VIRTUAL TABLE texts USING fts5(text, content='', tokenize='{_OPTIONS[tokenizer]}')"
    )
    connection.execute("CREATE VIRTUAL TABLE instances USING fts5vocab(texts, 'instance')")


def prepared(text: str, tokenizer: Tokenizer) -> str:
    """A text that SQLite takes as it is: no null, at which FTS5 stops, no half of a surrogate.

    Letters that are written in several ways (of full or half width, of parts) become one.
    """
    whole = text.encode("utf-8", "replace").decode().replace("\0", " ")
    normal = unicodedata.normalize("NFKC", whole)
    return normal + _PADDING if tokenizer == "trigram" else normal


def query_terms(text: str, tokenizer: Tokenizer) -> list[Term]:
    """The distinct terms of a query, at most `MAX_TERMS`, in their order.

    By trigrams, a word is looked for by its trigrams, one of fewer letters as what others begin
    with; a Chinese, Japanese or Korean word by all its pairs of letters, as most words there have
    no more than two.
    """
    start = text[:MAX_CHARACTERS]
    found = _grams(start) if tokenizer == "trigram" else _words(start, tokenizer)
    terms: dict[Term, None] = {}
    for term in found:
        terms[term] = None
        if len(terms) == MAX_TERMS:
            break
    return list(terms)


def _words(text: str, tokenizer: Tokenizer) -> Iterator[Term]:
    for word, _ in _tokenized([prepared(text, tokenizer)], tokenizer):
        yield Term(word)


def _grams(text: str) -> Iterator[Term]:
    normal = prepared(text, "unicode61")
    runs = "".join(" " if unicodedata.category(letter)[0] in "CPZ" else letter for letter in normal)
    pieces = [piece for run in runs.split() for piece in _DENSE.split(run) if piece][:MAX_TERMS]
    for gram, number in _tokenized([piece + _PADDING for piece in pieces], "trigram"):
        letters, piece = gram.decode().rstrip(_PADDING), pieces[number]
        if _DENSE.fullmatch(piece):
            if len(letters) > 1 or len(piece) == 1:
                yield Term(letters[:2].encode(), prefix=True)
        elif len(letters) == 3 or len(piece) == len(letters):
            yield Term(letters.encode(), prefix=len(letters) < 3)


def _tokenized(texts: list[str], tokenizer: Tokenizer) -> list[tuple[bytes, int]]:
    """Terms with the number of their text, in their order."""
    with _tables(tokenizer).one() as connection:
        try:
            connection.executemany(INSERT, enumerate(texts))
            return connection.execute(
                "SELECT CAST(term AS BLOB), doc FROM instances ORDER BY doc, offset"
            ).fetchall()
        finally:
            connection.execute("INSERT INTO texts (texts) VALUES ('delete-all')")


@functools.cache
def _tables(tokenizer: Tokenizer) -> Connections:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        create_table(connection, tokenizer)
        return connection

    return Connections(connect)
