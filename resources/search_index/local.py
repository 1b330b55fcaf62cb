"""A vector index of our own, for a MongoDB deployment without search nodes.

Scores, filters and the rules of a query are those of `$vectorSearch`. Up to `exact_below` vectors
a query compares with each of them; above, an HNSW graph finds candidates. Either way the
candidates are scored anew from the stored vectors, so one document has one score however it was
found, and equal scores keep the order in which the documents were added.
"""

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import bson
import fsspec.core
import numpy as np
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import ArrayLike, NDArray

from resources.errors import QueryRefused, SearchIndexError
from resources.search_index import filters

Similarity = Literal["cosine", "dotProduct", "euclidean"]
Vectors = NDArray[np.float32]

# From benchmarks/local_index.py on two cores: comparing with all takes some 4 ms at 384 dimensions
# (so some 12 ms at 1024) and needs no graph, whose building is the slow part.
EXACT_BELOW = 50_000
MAX_CANDIDATES = 10_000  # MongoDB's limit of numCandidates
# Likewise: one step through the graph takes as long as 16 comparisons with vectors by number.
GRAPH_STEP = 16
# FAISS locks and sorts for every call of add, in time that grows with the whole index.
ADD_BATCH = 8192
RESCORE_BATCH = 4096
IDS_PER_CHUNK = 10_000
READ_BLOCK = 1 << 20

FORMAT = 1
MANIFEST, INDEX_FILE, IDS_FILE, FIELDS_FILE = "index.json", "index.faiss", "ids.bson", "fields.npz"

_CODEC: CodecOptions = CodecOptions(
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,  # years that Python lacks
)


@dataclass(frozen=True)
class Hit:
    id: Any
    score: float


class LocalIndexBuilder:
    """Takes vectors batch by batch; beside the index itself it holds one batch of them."""

    def __init__(
        self,
        *,
        dimensions: int,
        similarity: Similarity,
        filter_paths: Sequence[str],
        exact_below: int = EXACT_BELOW,
        max_edges: int = 16,
        num_edge_candidates: int = 100,
        expected: int | None = None,
    ) -> None:
        """Begins an empty index.

        Args:
            dimensions: Width of every vector.
            similarity: As in the definition of a MongoDB index.
            filter_paths: Dotted paths that a filter may name.
            exact_below: Up to this many vectors no graph is built.
            max_edges: MongoDB's `hnswOptions.maxEdges`.
            num_edge_candidates: MongoDB's `hnswOptions.numEdgeCandidates`.
            expected: How many vectors to reserve memory for.
        """
        if similarity not in get_args(Similarity):
            raise SearchIndexError(
                f"Unknown similarity {similarity!r}; allowed are {', '.join(get_args(Similarity))}."
            )
        self._dimensions = dimensions
        self._similarity: Similarity = similarity
        self._columns = [filters.FilterColumnBuilder(path) for path in filter_paths]
        self._exact_below = exact_below
        self._max_edges = max_edges
        self._num_edge_candidates = num_edge_candidates
        self._ids: list[Any] = []
        self._waiting: list[Vectors] = []
        self._expected = expected or 0
        graph = self._expected > exact_below
        self._index = self._graph() if graph else self._flat()
        _reserve(self._index, self._expected)

    def _flat(self) -> Any:
        faiss = _faiss()
        return faiss.index_factory(self._dimensions, "Flat", _metric(self._similarity))

    def _graph(self) -> Any:
        faiss = _faiss()
        graph = faiss.IndexHNSWFlat(self._dimensions, self._max_edges, _metric(self._similarity))
        graph.hnsw.efConstruction = self._num_edge_candidates
        return graph

    def add(
        self, ids: Sequence[Any], vectors: NDArray[Any], fields: Sequence[Mapping[str, Any]]
    ) -> None:
        """Adds a batch, all of it or nothing.

        MongoDB leaves out a vector that it cannot index and says nothing; here it is an error.

        Args:
            ids: (n,) any BSON values.
            vectors: (n, dimensions)
            fields: (n,) documents with the filter fields, nested or under their dotted path.

        Raises:
            SearchIndexError: names the first vector that cannot be indexed.
        """
        if not len(ids) == len(vectors) == len(fields):
            raise SearchIndexError(
                f"A batch has {len(ids)} ids, {len(vectors)} vectors and {len(fields)} documents."
            )
        if not len(ids):
            return
        if vectors.ndim != 2 or vectors.shape[1] != self._dimensions:
            raise SearchIndexError(
                f"The vector of {ids[0]!r} has {vectors.shape[-1] if vectors.ndim > 1 else 'no'} "
                f"dimensions, the index {self._dimensions}."
            )
        with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
            batch = np.array(vectors, np.float32, order="C")
        _refuse(np.logical_not(np.isfinite(batch)).any(axis=1), ids, "holds NaN or infinity")
        if self._similarity == "cosine":
            lengths = _lengths(batch)
            _refuse(lengths == 0, ids, "is all zeros, which has no cosine")
            batch = (batch / lengths[:, None]).astype(np.float32)
        for column in self._columns:
            column.append(fields)
        self._ids.extend(ids)
        self._waiting.append(batch)
        if len(self._ids) - self._index.ntotal >= ADD_BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        batch = np.concatenate(self._waiting)
        self._waiting.clear()
        if _is_flat(self._index) and self._index.ntotal + len(batch) > self._exact_below:
            flat, self._index = self._index, self._graph()
            _reserve(self._index, max(self._expected, flat.ntotal))
            _copy(flat, self._index)
        self._index.add(batch)

    def finish(self) -> "LocalIndex":
        self._flush()
        if not _is_flat(self._index) and self._index.ntotal <= self._exact_below:
            graph, self._index = self._index, self._flat()  # fewer vectors than expected
            _copy(graph, self._index)
        columns = [column.finish() for column in self._columns]
        return LocalIndex(self._index, self._similarity, self._ids, columns)


def _faiss() -> Any:
    import faiss  # its types miss what SWIG adds at run time

    return faiss


def _metric(similarity: str) -> int:
    faiss = _faiss()
    return faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT


def _is_flat(index: Any) -> bool:
    return not hasattr(index, "hnsw")


def _storage(index: Any) -> Any:
    """The part of a FAISS index that holds the vectors."""
    faiss = _faiss()
    return index if _is_flat(index) else faiss.downcast_index(index.storage)


def _reserve(index: Any, count: int) -> None:
    # A C++ vector keeps its memory when it shrinks; growing bit by bit would copy it at each step.
    codes = _storage(index).codes
    codes.resize(count * index.d * 4)
    codes.resize(0)


def _copy(source: Any, target: Any) -> None:
    stored = _vectors(source)
    for start in range(0, len(stored), ADD_BATCH):
        target.add(stored[start : start + ADD_BATCH])


def _vectors(index: Any) -> Vectors:
    """(n, dimensions) a view of the memory that FAISS holds: only while the index lives."""
    faiss = _faiss()
    if index.ntotal == 0:
        return np.empty((0, index.d), np.float32)
    flat = faiss.rev_swig_ptr(_storage(index).get_xb(), index.ntotal * index.d)
    return flat.reshape(index.ntotal, index.d)


def _lengths(vectors: Vectors) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)  # squares of small float32 values would vanish
    return np.sqrt((wide * wide).sum(axis=-1))


def _refuse(wrong: ArrayLike, ids: Sequence[Any], what: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise SearchIndexError(
            f"The vector of {ids[rows[0]]!r} {what}: MongoDB would skip it silently."
        )


class LocalIndex:
    """An index that is complete; any number of threads may search it."""

    def __init__(
        self,
        index: Any,
        similarity: Similarity,
        ids: list[Any],
        columns: Sequence[filters.FilterColumn],
    ) -> None:
        self._index = index
        self._similarity: Similarity = similarity
        self._ids = ids
        self._columns = {column.path: column for column in columns}
        self._stored = _vectors(index)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dimensions(self) -> int:
        return self._index.d

    @property
    def similarity(self) -> Similarity:
        return self._similarity

    @property
    def filter_paths(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def search(
        self,
        vector: ArrayLike,
        *,
        limit: int,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 (MongoDB's name of it)
        exact: bool = False,
        num_candidates: int | None = None,
    ) -> list[Hit]:
        """Finds the most similar vectors.

        Args:
            vector: (dimensions,) finite; not all zeros where the similarity is cosine.
            limit: At least 1.
            filter: As in `$vectorSearch`, on `filter_paths`.
            exact: Compare with every vector that passes the filter, also where there is a graph.
            num_candidates: Breadth of a search through the graph, `limit` to 10,000; by default
                20 times the limit, at least 100. Where comparing with all costs no more, that
                is done instead.

        Returns:
            At most `limit` hits, the best first.

        Raises:
            QueryRefused: what MongoDB would refuse too.
        """
        query = self._query(vector)
        breadth = _breadth(limit, exact, num_candidates)
        passing = None
        if filter is not None:
            passing = filters.evaluate(filter, self._columns, len(self))
        count = len(self) if passing is None else int(np.count_nonzero(passing))
        if count == 0:
            return []
        if count == len(self):
            passing = None
        # To see `breadth` documents that pass, the graph is searched the wider the fewer pass.
        steps = math.ceil(breadth * len(self) / count)
        rows = None
        if not exact and not _is_flat(self._index) and count > GRAPH_STEP * steps:
            rows = self._search_graph(query, passing, breadth, steps)
        if rows is None or len(rows) < min(limit, count):
            rows = self._search_all(query, passing, limit)
        return self._best(query, rows, limit)

    def _query(self, vector: ArrayLike) -> Vectors:
        try:
            with np.errstate(over="ignore"):
                query = np.array(vector, np.float32)
        except (TypeError, ValueError) as error:
            raise QueryRefused(f"The query is not a vector of numbers: {error}.") from None
        if query.ndim != 1 or len(query) != self.dimensions:
            raise QueryRefused(
                f"The index has {self.dimensions} dimensions, the query "
                f"{len(query) if query.ndim == 1 else f'the shape {query.shape}'}."
            )
        if not np.isfinite(query).all():
            raise QueryRefused("The query vector holds NaN or infinity.")
        if self._similarity == "cosine":
            length = float(_lengths(query))
            if length == 0:
                raise QueryRefused("The query vector is all zeros, which has no cosine.")
            query = (query / length).astype(np.float32)
        return query

    def _search_graph(
        self, query: Vectors, passing: filters.Mask | None, breadth: int, steps: int
    ) -> NDArray[np.int64]:
        faiss = _faiss()
        bits = None if passing is None else np.packbits(passing, bitorder="little")
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParametersHNSW(efSearch=steps, sel=selector)
        _, found = self._index.search(query[None], min(breadth, len(self)), params=parameters)
        return found[0][found[0] >= 0]

    def _search_all(
        self, query: Vectors, passing: filters.Mask | None, limit: int
    ) -> NDArray[np.int64]:
        """The best of all that pass, and everything within float32's error of the last of them."""
        faiss = _faiss()
        euclidean = self._similarity == "euclidean"
        vectors = faiss.swig_ptr(self._stored)
        asked = faiss.swig_ptr(query)
        if passing is None:
            rows = None
            values = np.empty(len(self), np.float32)
            into = faiss.swig_ptr(values)
            compare = faiss.fvec_L2sqr_ny if euclidean else faiss.fvec_inner_products_ny
            compare(into, asked, vectors, self.dimensions, len(self))
        else:
            rows = np.flatnonzero(passing).astype(np.int64)
            values = np.empty(len(rows), np.float32)
            into, numbers = faiss.swig_ptr(values), faiss.swig_ptr(rows)
            compare = faiss.fvec_L2sqr_by_idx if euclidean else faiss.fvec_inner_products_by_idx
            compare(into, asked, vectors, numbers, self.dimensions, 1, len(rows))
        if euclidean:
            np.negative(values, out=values)
        if limit < len(values):
            last = float(np.partition(values, -limit)[-limit])
            # the error grows with the terms of the sum, not with the sum
            scale = -last if euclidean else float(_lengths(query)) * self._longest
            kept = np.flatnonzero(values >= last - 1e-5 * scale)
        else:
            kept = np.arange(len(values))
        return kept if rows is None else rows[kept]

    @cached_property
    def _longest(self) -> float:
        if self._similarity == "cosine":
            return 1.0
        return math.sqrt(np.einsum("ij,ij->i", self._stored, self._stored).max())

    def _best(self, query: Vectors, rows: NDArray[np.int64], limit: int) -> list[Hit]:
        wide = query.astype(np.float64)
        nearness = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), RESCORE_BATCH):
            part = slice(start, start + RESCORE_BATCH)
            stored = self._stored[rows[part]].astype(np.float64)
            if self._similarity == "euclidean":
                nearness[part] = -np.square(stored - wide).sum(axis=1)
            else:
                nearness[part] = (stored * wide).sum(axis=1)
        # MongoDB's scores are float32; so is what counts as a tie
        nearness = nearness.astype(np.float32)
        order = np.lexsort((rows, -nearness))[:limit]
        return [
            Hit(self._ids[row], self._score(float(near)))
            for row, near in zip(rows[order].tolist(), nearness[order], strict=True)
        ]

    def _score(self, nearness: float) -> float:
        if self._similarity == "euclidean":
            return 1 / (1 - nearness)  # of the squared distance, whatever MongoDB's docs say
        score = max((1 + nearness) / 2, 0.0)
        return min(score, 1.0) if self._similarity == "cosine" else score

    def save(self, folder_url: str) -> None:
        """Writes the index to a folder: a local path or any URL that fsspec knows."""
        faiss = _faiss()
        files, root = fsspec.core.url_to_fs(folder_url)
        files.makedirs(root, exist_ok=True)
        if files.exists(f"{root}/{MANIFEST}"):  # until all is replaced, the folder is no index
            files.rm(f"{root}/{MANIFEST}")
        written: dict[str, Any] = {}
        with _writing(files, root, INDEX_FILE, written) as out:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(out.write))
        with _writing(files, root, IDS_FILE, written) as out:
            for start in range(0, len(self._ids), IDS_PER_CHUNK):
                chunk = self._ids[start : start + IDS_PER_CHUNK]
                out.write(bson.encode({"ids": chunk}, codec_options=_CODEC))
        arrays = {
            f"{position}.{name}": values
            for position, column in enumerate(self._columns.values())
            for name, values in column.to_arrays().items()
        }
        with _writing(files, root, FIELDS_FILE, written) as out:
            np.savez(cast(Any, out), **cast(Any, arrays))
        manifest = {
            "format": FORMAT,
            "vectors": len(self),
            "dimensions": self.dimensions,
            "similarity": self.similarity,
            "filter_paths": list(self._columns),
            "files": written,
        }
        with _writing(files, root, MANIFEST, {}) as out:
            out.write(json.dumps(manifest, indent=2).encode())

    @classmethod
    def load(cls, folder_url: str) -> "LocalIndex":
        """Opens a saved index; its vectors are mapped from the disk, not read into memory.

        Raises:
            SearchIndexError: no index there, or not all of one.
        """
        files, root = fsspec.core.url_to_fs(folder_url)
        files.invalidate_cache()  # another process may have written it since
        with ExitStack() as stack:
            try:
                manifest = json.loads(files.cat_file(f"{root}/{MANIFEST}"))
                if manifest["format"] != FORMAT:
                    raise _Damaged(f"is of format {manifest['format']}, not {FORMAT}")
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="search-index-"))
                paths = {
                    name: _verified(files, f"{root}/{name}", manifest["files"][name], scratch)
                    for name in (INDEX_FILE, IDS_FILE, FIELDS_FILE)
                }
                return cls._read(manifest, paths)
            except _Damaged as problem:
                what = str(problem)
            except FileNotFoundError as error:
                what = f"lacks {Path(str(error.filename or error.args[-1])).name}"
            except (ValueError, LookupError, TypeError, RuntimeError) as error:
                what = f"cannot be read ({type(error).__name__}: {error})"
        raise SearchIndexError(
            f"The local search index in {folder_url} {what}: re-materialize `search_index`."
        )

    @classmethod
    def _read(cls, manifest: Mapping[str, Any], paths: Mapping[str, str]) -> "LocalIndex":
        faiss = _faiss()
        # Windows would not let go of a file that is mapped
        flags = faiss.IO_FLAG_MMAP_IFC if os.name == "posix" else 0
        index = faiss.read_index(paths[INDEX_FILE], flags)
        with open(paths[IDS_FILE], "rb") as source:
            ids = [key for chunk in bson.decode_file_iter(source, _CODEC) for key in chunk["ids"]]
        with np.load(paths[FIELDS_FILE], allow_pickle=False) as stored:
            parts: list[dict[str, Any]] = [{} for _ in manifest["filter_paths"]]
            for key in stored.files:
                position, _, name = key.partition(".")
                parts[int(position)][name] = stored[key]
        columns = [
            filters.FilterColumn.from_arrays(path, arrays)
            for path, arrays in zip(manifest["filter_paths"], parts, strict=True)
        ]
        count = manifest["vectors"]
        if {index.ntotal, len(ids), *map(len, columns)} != {count}:
            raise _Damaged(f"does not hold the {count} vectors of its {MANIFEST}")
        metric = _metric(manifest["similarity"])
        if (index.d, index.metric_type) != (manifest["dimensions"], metric):
            raise _Damaged(f"has other dimensions or another similarity than its {MANIFEST}")
        return cls(index, manifest["similarity"], ids, columns)


class _Damaged(Exception):
    """Why a folder is not an index, as the end of a sentence."""


class _Output(io.RawIOBase):
    """Passes on what is written, and sums it up."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._target.write(data)
        self._sha256.update(data)
        self._bytes += len(data)
        return len(data)

    def summary(self) -> dict[str, Any]:
        return {"bytes": self._bytes, "sha256": self._sha256.hexdigest()}


@contextmanager
def _writing(files: Any, root: str, name: str, written: dict[str, Any]) -> Iterator[_Output]:
    path = f"{root}/{name}"
    local = isinstance(files, LocalFileSystem)
    # On a disk, a new file takes the place of the old one: a reader may have that one mapped. An
    # object store shows an object only when it is complete.
    target = f"{path}.part" if local else path
    with files.open(target, "wb") as opened:
        out = _Output(opened)
        yield out
    if local:
        os.replace(target, path)
    written[name] = out.summary()


def _verified(files: Any, path: str, expected: Mapping[str, Any], scratch: str) -> str:
    """A local path of the file, after a look at every byte of it."""
    name = path.rpartition("/")[2]
    copy = None if isinstance(files, LocalFileSystem) else f"{scratch}/{name}"
    with ExitStack() as stack:
        source = stack.enter_context(files.open(path, "rb"))
        sink = io.BytesIO() if copy is None else stack.enter_context(open(copy, "wb"))
        digest = hashlib.sha256()
        while block := cast(bytes, source.read(READ_BLOCK)):
            digest.update(block)
            if copy is not None:
                sink.write(block)
    if digest.hexdigest() != expected["sha256"]:
        raise _Damaged(f"holds a torn or foreign {name}")
    return copy or path


def _breadth(limit: int, exact: bool, num_candidates: int | None) -> int:
    if not _is_count(limit):
        raise QueryRefused(f"The limit is a whole number of at least 1, not {limit!r}.")
    if num_candidates is None:
        if not exact and limit > MAX_CANDIDATES:
            raise QueryRefused(
                f"The limit {limit} is above {MAX_CANDIDATES}, the most candidates that an "
                f"approximate search considers; an exact search has no such bound."
            )
        return min(max(20 * limit, 100), MAX_CANDIDATES)
    if exact:
        raise QueryRefused("An exact search considers all vectors: leave num_candidates out.")
    if not _is_count(num_candidates) or not limit <= num_candidates <= MAX_CANDIDATES:
        raise QueryRefused(
            f"num_candidates is a whole number from the limit, {limit}, to {MAX_CANDIDATES}, "
            f"not {num_candidates!r}."
        )
    return num_candidates


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
