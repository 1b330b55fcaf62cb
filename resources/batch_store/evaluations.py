"""What evaluations leave behind: vectors of judged queries, and what was found for each.

Layout under the batch store's root:

    queries/<space>/<settings>/<window>.parquet         vectors, named by the texts' content
    evaluations/<pipeline>/<evaluation>/00000.parquet   rankings of a window of queries

Vectors of queries are embedded as queries: they lie apart from the batches, so that none is ever
taken for a document's. What a prompt or a model of the family changes of them is no part of the
space: it is in the settings, see `EmbedderResource.query_settings`.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from resources.batch_store.files import DamagedFile, Files, MissingFile
from resources.core.chunks import hash_text
from resources.core.keys import decode, encode
from resources.core.space import EmbeddingSpace

WINDOW = 256
"""Queries embedded together and written down together, and rankings in one file."""


class Found(NamedTuple):
    """What a query found.

    Attributes:
        query: Its id.
        ids: Of the source documents, the best first.
        scores: Theirs.
        note: What a person should know about it; empty where there is nothing.
    """

    query: str
    ids: Sequence[Any]
    scores: Sequence[float]
    note: str = ""


@dataclass(frozen=True)
class QueryWindow:
    """Vectors of distinct texts as queries.

    Attributes:
        vectors: Of the space's element type, shape (texts, columns), in the texts' order.
        refused: Why there is none, by the text's place; its row is of zeros.
    """

    vectors: np.ndarray
    refused: Mapping[int, str] = field(default_factory=dict)


class QueryVectors:
    """Vectors of queries that were embedded already: a cache.

    They go by the space, the settings that queries are embedded with, and the text.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._places: dict[str, dict[str, str]] = {}

    def read(
        self, space: EmbeddingSpace, settings: str, texts: Sequence[str]
    ) -> dict[str, np.ndarray | str]:
        """What is known of texts, by text: the vector, or why there is none.

        What cannot be read any more is not known.
        """
        folder = f"queries/{space.id}/{settings}"
        places = self._known(folder)
        wanted = {hash_text(text): text for text in texts}
        found: dict[str, np.ndarray | str] = {}
        for name in sorted({places[each] for each in wanted if each in places}):
            try:
                table = self._files.read_table(f"{folder}/{name}.parquet")
            except (MissingFile, DamagedFile):
                continue
            rows = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, space.width)
            said = zip(table["text_hash"].to_pylist(), table["refused"].to_pylist(), strict=True)
            for row, (text_hash, refused) in enumerate(said):
                if text_hash in wanted:
                    found[wanted[text_hash]] = rows[row] if refused is None else refused
        return found

    def write(
        self, space: EmbeddingSpace, settings: str, texts: Sequence[str], window: QueryWindow
    ) -> None:
        """Keep vectors of distinct texts, at most `WINDOW`, in their order."""
        folder = f"queries/{space.id}/{settings}"
        hashes = [hash_text(text) for text in texts]
        name = hashlib.sha256("".join(hashes).encode()).hexdigest()[:32]
        table = pa.table(
            {
                "text_hash": pa.array(hashes, pa.string()),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(np.ascontiguousarray(window.vectors).reshape(-1)), space.width
                ),
                "refused": pa.array([window.refused.get(at) for at in range(len(texts))], "string"),
            }
        )
        self._files.write_table(table, f"{folder}/{name}.parquet")
        self._known(folder).update(dict.fromkeys(hashes, name))

    def remove_old(self, limit: datetime, in_use: Collection[str]) -> None:
        """Remove what was last added to before then, except in the spaces that are in use."""
        for space in self._files.names("queries"):
            if space in in_use:
                continue
            for settings in self._files.names(f"queries/{space}"):
                folder = f"queries/{space}/{settings}"
                paths = [f"{folder}/{name}" for name in self._files.names(folder)]
                if all(self._files.modified(path) < limit for path in paths):
                    self._files.remove(folder, recursive=True)
                    self._places.pop(folder, None)

    def _known(self, folder: str) -> dict[str, str]:
        """The file of each text's vector, by the text's hash."""
        if folder not in self._places:
            found: dict[str, str] = {}
            for file in self._files.names(folder):
                name = file.removesuffix(".parquet")
                if name == file:
                    continue
                try:
                    table = self._files.read_table(f"{folder}/{file}", ["text_hash"])
                except (MissingFile, DamagedFile):
                    continue
                found.update(dict.fromkeys(table["text_hash"].to_pylist(), name))
            self._places[folder] = found
        return self._places[folder]


class Rankings:
    """What each evaluation found, window by window."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def write(
        self,
        pipeline: str,
        evaluation: str,
        window: int,
        found: Sequence[Found],
        measures: Mapping[str, Sequence[float | None]] | None = None,
    ) -> None:
        """Keep one window of an evaluation; the windows are numbered from 0.

        Args:
            pipeline: Whose.
            evaluation: Its id.
            window: Its number.
            found: Of each query.
            measures: By name, of each query; None for one that they are not of.
        """
        ids = [[encode(each) for each in row.ids] for row in found]
        scores = [list(map(float, row.scores)) for row in found]
        columns: dict[str, pa.Array] = {
            "query": pa.array([row.query for row in found], pa.string()),
            "ids": pa.array(ids, pa.list_(pa.string())),
            "scores": pa.array(scores, pa.list_(pa.float64())),
            "note": pa.array([row.note for row in found], pa.string()),
        }
        for name, values in (measures or {}).items():
            columns[_MEASURE + name] = pa.array(values, pa.float64())
        path = f"{_folder(pipeline, evaluation)}/{window:05}.parquet"
        self._files.write_table(pa.table(columns), path)

    def window(self, pipeline: str, evaluation: str, window: int) -> list[Found] | None:
        """One window that is there whole; None where it is not."""
        path = f"{_folder(pipeline, evaluation)}/{window:05}.parquet"
        try:
            return list(_found(self._files.read_table(path, [*Found._fields])))
        except (MissingFile, DamagedFile):
            return None

    def read(self, pipeline: str, evaluation: str) -> Iterator[Found]:
        """All of an evaluation in the order of its queries, a window in memory at a time.

        Raises:
            MissingFile: They are not kept any more.
            DamagedFile: They cannot be read.
        """
        for table in self._tables(pipeline, evaluation, [*Found._fields]):
            yield from _found(table)

    def measures(self, pipeline: str, evaluation: str, name: str) -> dict[str, float]:
        """A measure of each query that it is of, by the query's id.

        Raises:
            MissingFile: They are not kept any more.
            DamagedFile: They cannot be read.
        """
        values: dict[str, float] = {}
        for table in self._tables(pipeline, evaluation, ["query"], _MEASURE + name):
            if _MEASURE + name not in table.column_names:
                continue
            of = zip(table["query"].to_pylist(), table[_MEASURE + name].to_pylist(), strict=True)
            values.update((query, value) for query, value in of if value is not None)
        return values

    def _tables(
        self, pipeline: str, evaluation: str, columns: list[str], if_there: str | None = None
    ) -> Iterator[pa.Table]:
        folder = _folder(pipeline, evaluation)
        names = [name for name in self._files.names(folder) if name.endswith(".parquet")]
        if not names:
            raise MissingFile(
                f"what evaluation {evaluation} of {pipeline} found is not kept any more"
            )
        for name in names:
            yield self._files.read_table(f"{folder}/{name}", columns, if_there=if_there)

    def windows(self, pipeline: str, evaluation: str) -> int:
        """How many windows are kept."""
        names = self._files.names(_folder(pipeline, evaluation))
        return sum(name.endswith(".parquet") for name in names)

    def kept(self, pipeline: str) -> list[str]:
        """Ids of the evaluations of which rankings are there, the oldest first."""
        return self._files.names(f"evaluations/{pipeline}")

    def remove(self, pipeline: str, evaluation: str) -> None:
        self._files.remove(_folder(pipeline, evaluation), recursive=True)


_MEASURE = "measure:"


def _found(table: pa.Table) -> Iterator[Found]:
    columns = (table[name].to_pylist() for name in Found._fields)
    for query, ids, scores, note in zip(*columns, strict=True):
        yield Found(query, [decode(each) for each in ids], scores, note)


def _folder(pipeline: str, evaluation: str) -> str:
    return f"evaluations/{pipeline}/{evaluation}"
