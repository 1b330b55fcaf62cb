"""The resource `batch_store`: Parquet files of embedding batches, plans and local indexes.

Layout under the root, which is a folder or an object-store URL:

    batches/<space>/<batch>.parquet          vectors, named by their content
    plans/<pipeline>/<plan>/plan.json        what is to be done, written last
    plans/<pipeline>/<plan>/00000.parquet    chunks of one part of it
    plans/<pipeline>/current.json            which plan counts
    indexes/<pipeline>/<index>/<version>/    the local search engine's files

A file appears whole or not at all: it is written under another name and then renamed; an object
store's upload is atomic by itself.
"""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pydantic import Field

from resources.config import StrictResource
from resources.embedders.space import EmbeddingSpace
from resources.errors import BatchStoreError
from resources.paths import state_path
from resources.vector_store.lineage import Lineage
from resources.windows import windows

SAMPLED_FILES = 4
READERS = 8
"""Files read at once where many are: an object store takes its time for each."""
PRUNED_AFTER = timedelta(hours=1)
_TEMPORARY = ".tmp"
_VERSION = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


def version_name(at: datetime | None = None) -> str:
    """A new name for a plan or an index, which sorts by time."""
    return f"{at or datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


class BatchStoreResource(StrictResource):
    """The folder or object store for embedding batches, plans and local indexes."""

    url: str = Field(
        default="batch_store",
        min_length=1,
        description="A folder, relative to `state/`, or an fsspec URL such as s3://bucket/prefix.",
    )

    keep_days: float | None = Field(
        default=None,
        gt=0,
        description="Remove embedding batches older than this that nothing needs any more: no plan "
        "names them, and none of their vectors is stored. Default: keep all.",
    )

    def open(self) -> "BatchStore":
        return BatchStore(state_path(self.url))

    def describe(self) -> str:
        return state_path(self.url)


@dataclass(frozen=True)
class EmbeddingBatch:
    """Vectors of distinct texts, in one file.

    Attributes:
        id: Named by content: the space and the texts' hashes, in order.
        chunk_ids: Of each text's first chunk, encoded.
        vectors: Of the space's element type, shape (rows, columns): see
            `resources.vector_store.formats`.
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

    def rows_by_text(self) -> dict[str, int]:
        return {lineage.text_hash: row for row, lineage in enumerate(self.lineage)}


class MissingFile(BatchStoreError):
    pass


class DamagedFile(BatchStoreError):
    """What was written is not what is there; the checksums tell."""


class BatchStore:
    """Files under one root.

    Raises:
        BatchStoreError: A file is missing, damaged, or cannot be written.
    """

    def __init__(self, root: str) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:  # a file system not installed, or unknown
            raise BatchStoreError(
                f"batch_store has `url: {root}`, which cannot be opened: {error}; install what it "
                "needs, or choose a folder"
            ) from error
        self._local = isinstance(self._fs, LocalFileSystem)
        self.url = root.rstrip("/")

    def check_writable(self) -> None:
        """Write and remove a small file.

        Raises:
            BatchStoreError: It cannot be written.
        """
        path = f"{self._root}/.writable-{secrets.token_hex(4)}"
        self._write(path, b"")
        self._fs.rm(path)

    # --- embedding batches

    def has_batch(self, space: str, batch: str) -> bool:
        """Whether a batch is there whole: reads it, since every page has a checksum."""
        try:
            self._read_table(self._batch_path(space, batch))
        except (MissingFile, DamagedFile):
            return False
        return True

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
        return self._write_table(table, self._batch_path(batch.space.id, batch.id), **options)

    def read_batch(self, space: str, batch: str) -> EmbeddingBatch:
        path = self._batch_path(space, batch)
        table = self._read_table(path)
        metadata = table.schema.metadata or {}
        vectors = table["vector"].combine_chunks()
        names = ("model", "text_hash", "batch", "run", "at")
        rows = zip(*(_values(table[name]) for name in names), strict=True)
        lineage = [Lineage(space, *values) for values in rows]
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

    def sample(self, space: EmbeddingSpace, rows: int) -> np.ndarray:
        """Vectors of some batches, evenly spread, shape (at most `rows`, space.width)."""
        names = self.batches(space.id)
        found, missing = [], rows
        for name in names[:: max(1, len(names) // SAMPLED_FILES)]:
            if missing <= 0:
                break
            try:
                table = self._read_table(self._batch_path(space.id, name), columns=["vector"])
            except (MissingFile, DamagedFile):
                continue
            vectors = table["vector"].combine_chunks().flatten().to_numpy()
            found.append(vectors.reshape(-1, space.width)[:missing])
            missing -= len(found[-1])
        return np.concatenate(found) if found else np.empty((0, space.width))

    def spaces(self) -> list[str]:
        """Ids of the spaces that there are batches of."""
        return sorted(path.rsplit("/", 1)[-1] for path in self._list(f"{self._root}/batches"))

    def batches(self, space: str, older_than: datetime | None = None) -> list[str]:
        """Names of all batches of a space, or of those written before a moment."""
        paths = sorted(self._list(f"{self._root}/batches/{space}"))
        found = [path for path in paths if path.endswith(".parquet")]
        if older_than:
            found = [path for path in found if self._modified(path) < older_than]
        return [path.rsplit("/", 1)[-1].removesuffix(".parquet") for path in found]

    def _modified(self, path: str) -> datetime:
        try:
            return self._fs.modified(path)
        except FileNotFoundError:  # removed since it was listed
            return datetime.max.replace(tzinfo=UTC)

    def texts(self, space: str, batch: str) -> list[str]:
        """Hashes of a batch's texts; reads one column."""
        table = self._read_table(self._batch_path(space, batch), columns=["text_hash"])
        return table["text_hash"].to_pylist()

    def remove_batch(self, space: str, batch: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm(self._batch_path(space, batch))

    def texts_by_batch(self, space: str) -> Iterator[tuple[str, list[str]]]:
        """Every readable batch of a space with the hashes of its texts; reads one column."""

        def read(name: str) -> tuple[str, list[str]]:
            try:
                return name, self.texts(space, name)
            except (MissingFile, DamagedFile):
                return name, []  # torn by a crash of the machine: its texts count as not embedded

        with ThreadPoolExecutor(READERS, thread_name_prefix="batch-reader") as pool:
            for names in windows(self.batches(space), 4 * READERS):
                yield from pool.map(read, names)

    def _batch_path(self, space: str, batch: str) -> str:
        return f"{self._root}/batches/{space}/{batch}.parquet"

    # --- plans

    def write_part(self, pipeline: str, plan: str, part: str, table: pa.Table) -> None:
        self._write_table(table, f"{self._plans(pipeline)}/{plan}/{part}.parquet")

    def read_part(self, pipeline: str, plan: str, part: str) -> pa.Table:
        return self._read_table(f"{self._plans(pipeline)}/{plan}/{part}.parquet")

    def write_plan(self, pipeline: str, plan: str, manifest: dict[str, Any]) -> None:
        """Make a plan the current one, whole; older ones are removed in time."""
        folder = self._plans(pipeline)
        self._write_json(f"{folder}/{plan}/plan.json", manifest)
        self._write_json(f"{folder}/current.json", {"plan": plan})
        self._prune(folder, keep=[plan])
        self._sweep()

    def read_plan(self, pipeline: str) -> dict[str, Any]:
        folder = self._plans(pipeline)
        try:
            plan = json.loads(self._fs.cat_file(f"{folder}/current.json"))["plan"]
            return json.loads(self._fs.cat_file(f"{folder}/{plan}/plan.json"))
        except FileNotFoundError as error:
            raise BatchStoreError(
                f"there is no plan in {self.url}/plans/{pipeline}: materialize "
                f"{pipeline}/source_documents first"
            ) from error
        except (ValueError, KeyError) as error:
            raise BatchStoreError(
                f"the plan in {self.url}/plans/{pipeline} is damaged: materialize "
                f"{pipeline}/source_documents again"
            ) from error

    def planned_batches(self) -> set[str]:
        """Batches that any plan of any pipeline names, finished or not."""
        named = set()
        for pipeline in self._list(f"{self._root}/plans"):
            for plan in self._list(pipeline):
                with suppress(FileNotFoundError, NotADirectoryError, ValueError, KeyError):
                    manifest = json.loads(self._fs.cat_file(f"{plan}/plan.json"))
                    named |= {part["batch"] for part in manifest["parts"]}
        return named

    def _plans(self, pipeline: str) -> str:
        return f"{self._root}/plans/{pipeline}"

    # --- local indexes

    def index_folder(self, pipeline: str, index: str) -> str:
        """Where the local engine keeps the versions of an index; a path or URL."""
        return f"{self.url}/indexes/{pipeline}/{index}"

    def prune_index(self, folder: str, keep: Sequence[str]) -> None:
        """Remove old versions of an index, except those named."""
        _, path = fsspec.core.url_to_fs(folder)
        self._prune(path, keep)

    # --- files

    def _prune(self, folder: str, keep: Sequence[str]) -> None:
        """Remove versions that are neither kept nor young: another run may be using those."""
        limit = version_name(datetime.now(UTC) - PRUNED_AFTER)
        for path in self._list(folder):
            name = path.rsplit("/", 1)[-1]
            if _VERSION.fullmatch(name) and name < limit and name not in keep:
                # Another run may be removing it as well.
                with suppress(FileNotFoundError):
                    self._fs.rm(path, recursive=True)

    def _sweep(self) -> None:
        """Remove what killed runs had half written."""
        limit = datetime.now(UTC) - PRUNED_AFTER
        for space in self.spaces() if self._local else ():
            for path in self._list(f"{self._root}/batches/{space}"):
                if path.endswith(_TEMPORARY) and self._modified(path) < limit:
                    with suppress(FileNotFoundError):
                        self._fs.rm(path)

    def _list(self, folder: str) -> list[str]:
        # A listing kept from before another process wrote would hide its files.
        self._fs.invalidate_cache()
        try:
            return [str(path).rstrip("/") for path in self._fs.ls(folder, detail=False)]
        except FileNotFoundError:
            return []

    def _write_table(self, table: pa.Table, path: str, **options: Any) -> int:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True, **options)
        data = sink.getvalue()
        self._write(path, data.to_pybytes())
        return data.size

    def _write_json(self, path: str, value: Any) -> None:
        self._write(path, json.dumps(value, indent=1, default=str).encode())

    def _write(self, path: str, data: bytes) -> None:
        try:
            if not self._local:
                self._fs.pipe_file(path, data)
                return
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            temporary = f"{path}.{secrets.token_hex(4)}{_TEMPORARY}"
            try:
                self._fs.pipe_file(temporary, data)
                self._fs.mv(temporary, path)
            except OSError:
                with suppress(OSError):
                    self._fs.rm(temporary)
                raise
        except OSError as error:
            raise BatchStoreError(
                f"{path} cannot be written: {error.strerror or error}; choose another "
                "`batch_store: url`, or make room"
            ) from error

    def _read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        try:
            with self._fs.open(path, "rb") as file:
                return pq.read_table(file, columns=columns, page_checksum_verification=True)
        except FileNotFoundError as error:
            raise MissingFile(
                f"{path} is missing: materialize the whole pipeline, which makes it again"
            ) from error
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            # A file system's error has a number; what Arrow finds wrong in the data has none.
            if isinstance(error, OSError) and error.errno is not None:
                raise BatchStoreError(f"{path} cannot be read: {reason}") from error
            raise DamagedFile(
                f"{path} is damaged ({reason}): materialize the whole pipeline, which makes it "
                "again"
            ) from error


def _values(column: pa.ChunkedArray) -> list[Any]:
    """As Python objects, each distinct value made once: most rows of a batch have the same."""
    encoded = column.combine_chunks().dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    return [distinct[at] for at in encoded.indices.to_numpy()]
