"""Parquet files of embedding batches, plans and local indexes.

Layout under the root, which is a folder or an object-store URL:

    batches/<space>/<batch>.parquet          vectors, named by their content
    plans/<pipeline>/                        see `resources.batch_store.plans`
    queries/<space>/, evaluations/<pipeline>/  see `resources.batch_store.evaluations`
    indexes/<pipeline>/<index>/<version>/    the local search engine's files: a list of segments
    indexes/<pipeline>/<index>/segments/     which versions share
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from resources.batch_store.evaluations import QueryVectors, Rankings
from resources.batch_store.files import DamagedFile, Files, MissingFile
from resources.batch_store.plans import Plans
from resources.core.credentials import redacted
from resources.core.lineage import Lineage
from resources.core.space import EmbeddingSpace
from resources.core.windows import windows

SAMPLED_FILES = 4
READERS = 8
"""Files read at once where many are: an object store takes its time for each."""


@dataclass(frozen=True)
class EmbeddingBatch:
    """Vectors of distinct texts, in one file.

    Attributes:
        id: Named by content: the space and the texts' hashes, in order.
        chunk_ids: Of each text's first chunk, encoded.
        vectors: Of the space's element type, shape (rows, columns): see
            `resources.core.vectors`.
        tokens: Per row; -1 where the provider does not count them.
        lineage: Per row; rows copied from the store keep who made them.
    """

    id: str
    space: EmbeddingSpace
    chunk_ids: list[str]
    vectors: np.ndarray
    tokens: np.ndarray
    lineage: list[Lineage]
    details: dict[str, Any]

    def rows_by_text(self, *, cut: bool = True) -> dict[str, int]:
        """Rows by the hash of their text: all, or without those of texts that were cut."""
        rows = enumerate(self.lineage)
        return {lineage.text_hash: row for row, lineage in rows if cut or not lineage.cut}


@dataclass(frozen=True)
class TokenCounts:
    """What the texts of a batch took.

    Attributes:
        texts: Their hashes.
        tokens: Per text, before anything was cut; -1 where the provider does not count them.
        billed: For all of them together; None where that is not known.
    """

    space: EmbeddingSpace
    texts: list[str]
    tokens: np.ndarray
    billed: int | None


@dataclass(frozen=True)
class BatchFacts:
    """How a batch was made; without its vectors.

    Attributes:
        texts: Hashes of its texts.
        tokens: As of `TokenCounts`.
        runs: Per text, the run that embedded it.
    """

    texts: list[str]
    tokens: np.ndarray
    runs: list[str]
    details: dict[str, Any]


class BatchStore:
    """Files under one root.

    Attributes:
        url: Of the root, for people: without credentials.

    Raises:
        BatchStoreError: A file is missing, damaged, or cannot be written.
    """

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self.url = redacted(self._root)
        self._files = Files(root)
        self.plans = Plans(self._files, self.url)
        self.queries = QueryVectors(self._files)
        self.rankings = Rankings(self._files)

    def check_writable(self) -> None:
        """As `Files.check_writable`."""
        self._files.check_writable()

    # --- embedding batches

    def has_batch(self, space_id: str, batch: str) -> bool:
        """Whether a batch is there whole: reads it, since every page has a checksum."""
        return self.whole_texts(space_id, batch) is not None

    def whole_texts(self, space_id: str, batch: str, *, cut: bool = True) -> list[str] | None:
        """Hashes of the texts of a batch that is there whole; None where it is not.

        Args:
            space_id: Of the batch.
            batch: Its name.
            cut: Also those of which the model saw only the beginning.
        """
        try:
            return _texts(self._files.read_table(_batch(space_id, batch)), cut=cut)
        except (MissingFile, DamagedFile):
            return None

    def write_batch(self, batch: EmbeddingBatch) -> int:
        """Write a batch down; returns its size in bytes."""
        names = ("model", "batch", "run", "at")
        columns: dict[str, pa.Array] = {
            "chunk_id": pa.array(batch.chunk_ids, pa.string()),
            "text_hash": pa.array([row.text_hash for row in batch.lineage], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(np.ascontiguousarray(batch.vectors).reshape(-1)), batch.space.width
            ),
            "tokens": pa.array(batch.tokens, pa.int32(), mask=np.asarray(batch.tokens) < 0),
        }
        for name in names:
            values = [getattr(row, name) for row in batch.lineage]
            kind = pa.timestamp("ms", tz="UTC") if name == "at" else pa.string()
            columns[name] = pa.array(values, kind)
        columns["cut"] = pa.array([row.cut for row in batch.lineage], pa.bool_())
        table = pa.table(columns).replace_schema_metadata(
            {
                "space_id": batch.space.id,
                "space": json.dumps(batch.space.to_document()),
                "details": json.dumps(batch.details),
            }
        )
        # A dictionary of values that hardly repeat would take most of the time, and more room than
        # they do; floats whose bytes are split into streams are a third smaller.
        options: dict[str, Any] = {"use_dictionary": list(names)}
        if batch.space.element == "float32":
            options["column_encoding"] = {"vector.list.element": "BYTE_STREAM_SPLIT"}
        return self._files.write_table(table, _batch(batch.space.id, batch.id), **options)

    def read_batch(self, space_id: str, batch: str) -> EmbeddingBatch:
        path = _batch(space_id, batch)
        table = self._files.read_table(path)
        metadata = table.schema.metadata or {}
        vectors = table["vector"].combine_chunks()
        model, made_by, run, at = (_values(table[name]) for name in ("model", "batch", "run", "at"))
        texts = table["text_hash"].to_pylist()
        cut = _cut(table) or [False] * len(texts)
        rows = zip(model, texts, made_by, run, at, cut, strict=True)
        lineage = [Lineage(space_id, *values) for values in rows]
        tokens = table["tokens"].fill_null(-1).to_numpy()
        parsed = EmbeddingSpace.from_document(json.loads(metadata[b"space"]))
        return EmbeddingBatch(
            id=batch,
            space=parsed,
            chunk_ids=table["chunk_id"].to_pylist(),
            vectors=vectors.flatten().to_numpy().reshape(-1, parsed.width),
            tokens=tokens.astype(np.int32),
            lineage=lineage,
            details=json.loads(metadata[b"details"]),
        )

    def facts(self, space_id: str, batch: str) -> BatchFacts:
        """How a batch was made; reads no vector."""
        table = self._files.read_table(_batch(space_id, batch), ["text_hash", "tokens", "run"])
        return BatchFacts(
            table["text_hash"].to_pylist(),
            table["tokens"].fill_null(-1).to_numpy(),
            _values(table["run"]),
            json.loads((table.schema.metadata or {})[b"details"]),
        )

    def batch_url(self, space_id: str, batch: str) -> str:
        """Where a batch's file lies, for people."""
        return f"{self.url}/{_batch(space_id, batch)}"

    def sample(self, space: EmbeddingSpace, rows: int) -> np.ndarray:
        """Vectors of some batches, evenly spread, shape (at most `rows`, space.width)."""
        names = self.batches(space.id)
        found, missing = [], rows
        for name in names[:: max(1, len(names) // SAMPLED_FILES)]:
            if missing <= 0:
                break
            try:
                table = self._files.read_table(_batch(space.id, name), columns=["vector"])
            except (MissingFile, DamagedFile):
                continue
            vectors = table["vector"].combine_chunks().flatten().to_numpy()
            found.append(vectors.reshape(-1, space.width)[:missing])
            missing -= len(found[-1])
        return np.concatenate(found) if found else np.empty((0, space.width))

    def spaces(self) -> list[str]:
        """Ids of the spaces that there are batches of."""
        return self._files.names("batches")

    def batches(self, space_id: str, older_than: datetime | None = None) -> list[str]:
        """Names of all batches of a space, or of those written before a moment."""
        files = self._files.names(f"batches/{space_id}")
        found = [name.removesuffix(".parquet") for name in files if name.endswith(".parquet")]
        if older_than is None:
            return found
        return [name for name in found if self._files.modified(_batch(space_id, name)) < older_than]

    def texts(self, space_id: str, batch: str, *, cut: bool = True) -> list[str]:
        """Hashes of a batch's texts, also those that were `cut` or not; reads one column or two."""
        mark = None if cut else "cut"
        table = self._files.read_table(_batch(space_id, batch), ["text_hash"], if_there=mark)
        return _texts(table, cut=cut)

    def token_counts(self, space_id: str, batch: str) -> TokenCounts:
        """What a batch's texts took; reads no vector."""
        table = self._files.read_table(_batch(space_id, batch), ["text_hash", "tokens", "run"])
        metadata = table.schema.metadata or {}
        details = json.loads(metadata[b"details"])
        # Of a batch that an earlier run had begun, the bill is that of its later texts.
        whole = set(_values(table["run"])) == {details.get("run")}
        return TokenCounts(
            EmbeddingSpace.from_document(json.loads(metadata[b"space"])),
            table["text_hash"].to_pylist(),
            table["tokens"].fill_null(-1).to_numpy(),
            details.get("tokens") if whole else None,
        )

    def remove_batch(self, space_id: str, batch: str) -> None:
        self._files.remove(_batch(space_id, batch))

    def texts_by_batch(
        self, space_id: str, *, cut: bool = True, lately: Callable[[], Iterable[str]] = tuple
    ) -> Iterator[tuple[str, list[str]]]:
        """Every readable batch of a space with the hashes of its texts, as `texts` has them.

        Args:
            space_id: Of the batches.
            cut: As of `texts`.
            lately: Names of some that were written a short time ago: an object store's listing may
                not have them yet.
        """

        def read(name: str) -> tuple[str, list[str]]:
            try:
                return name, self.texts(space_id, name, cut=cut)
            except (MissingFile, DamagedFile):
                return name, []  # torn by a crash of the machine: its texts count as not embedded

        with ThreadPoolExecutor(READERS, thread_name_prefix="batch-reader") as pool:
            known = dict.fromkeys([*self.batches(space_id), *lately()])
            for names in windows(known, 4 * READERS):
                yield from pool.map(read, names)

    # --- local indexes

    def index_folder(self, pipeline: str, index: str) -> str:
        """Where the local engine keeps the versions of an index: a path or URL, not to be shown."""
        return f"{self._root}/indexes/{pipeline}/{index}"

    def remove_index(self, pipeline: str, index: str) -> None:
        """Remove an index with all its versions; it may be gone already."""
        self._files.remove(f"indexes/{pipeline}/{index}", recursive=True)

    def prune_index(
        self,
        pipeline: str,
        index: str,
        keep: Sequence[str],
        segments_of: Callable[[str], Sequence[str]],
    ) -> None:
        """Remove old versions of an index, except those named, and what none needs any more.

        Args:
            pipeline: Whose index it is.
            index: Its name.
            keep: Versions.
            segments_of: Which segments a version shares with others.
        """
        folder = f"indexes/{pipeline}/{index}"
        self._files.prune(folder, keep)

        @cache  # asked only when it is known which segments are old: no younger version names them
        def needed() -> set[str]:
            versions = self._files.names(folder)
            return {name for version in versions for name in segments_of(version)}

        self._files.prune(f"{folder}/segments", [], spare=lambda name: name in needed())


def _batch(space_id: str, batch: str) -> str:
    return f"batches/{space_id}/{batch}.parquet"


def _cut(table: pa.Table) -> list[bool] | None:
    """Of which rows the model saw only the beginning; None where the file is too old to say."""
    return table["cut"].to_pylist() if "cut" in table.column_names else None


def _texts(table: pa.Table, *, cut: bool) -> list[str]:
    texts, marks = table["text_hash"].to_pylist(), None if cut else _cut(table)
    if marks is None:
        return texts
    return [text for text, was_cut in zip(texts, marks, strict=True) if not was_cut]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """As Python objects, each distinct value made once: most rows of a batch have the same."""
    encoded = column.combine_chunks().dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    return [distinct[at] for at in encoded.indices.to_numpy()]
