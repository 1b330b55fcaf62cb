"""Small functions over FAISS indexes, flat or with an HNSW graph.

FAISS is imported inside of them, because definitions must load fast, and its indexes are `Any`:
its types miss what SWIG adds at run time.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.core.vectors import Similarity
from resources.search_index.filters.columns import Mask

Vectors = NDArray[np.float32]

# FAISS locks and sorts for every call of add, in time that grows with the whole index.
ADD_BATCH = 8192


def _faiss() -> Any:
    import faiss

    return faiss


def metric(similarity: Similarity) -> int:
    faiss = _faiss()
    return faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT


def new_flat(dimensions: int, similarity: Similarity) -> Any:
    return _faiss().index_factory(dimensions, "Flat", metric(similarity))


def new_graph(
    dimensions: int, similarity: Similarity, *, max_edges: int, num_edge_candidates: int
) -> Any:
    graph = _faiss().IndexHNSWFlat(dimensions, max_edges, metric(similarity))
    graph.hnsw.efConstruction = num_edge_candidates
    return graph


def is_flat(index: Any) -> bool:
    return not hasattr(index, "hnsw")


def _storage(index: Any) -> Any:
    """The part of an index that holds the vectors."""
    return index if is_flat(index) else _faiss().downcast_index(index.storage)


def reserve(index: Any, count: int) -> None:
    # A C++ vector keeps its memory when it shrinks; growing bit by bit would copy it at each step.
    codes = _storage(index).codes
    codes.resize(count * index.d * 4)
    codes.resize(0)


def copy(source: Any, target: Any) -> None:
    stored = vectors(source)
    for start in range(0, len(stored), ADD_BATCH):
        target.add(stored[start : start + ADD_BATCH])


def vectors(index: Any) -> Vectors:
    """(n, dimensions) a view of the memory that FAISS holds: only while the index lives."""
    if index.ntotal == 0:
        return np.empty((0, index.d), np.float32)
    flat = _faiss().rev_swig_ptr(_storage(index).get_xb(), index.ntotal * index.d)
    return flat.reshape(index.ntotal, index.d)


def search_graph(
    graph: Any, query: Vectors, passing: Mask | None, *, count: int, steps: int
) -> NDArray[np.int64]:
    """Rows near the query, at most `count` of those that pass."""
    faiss = _faiss()
    bits = None if passing is None else np.packbits(passing, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    parameters = faiss.SearchParametersHNSW(efSearch=steps, sel=selector)
    _, found = graph.search(query[None], count, params=parameters)
    return found[0][found[0] >= 0]


def nearness(
    stored: Vectors, query: Vectors, rows: NDArray[np.int64] | None, similarity: Similarity
) -> NDArray[np.float32]:
    """Compares the query with all vectors, or with some rows of them.

    Returns:
        (rows,) inner products, or negative squared distances: the higher, the nearer.
    """
    faiss = _faiss()
    euclidean = similarity == "euclidean"
    count, dimensions = stored.shape
    values = np.empty(count if rows is None else len(rows), np.float32)
    arrays = [faiss.swig_ptr(array) for array in (values, query, stored)]
    if rows is None:
        compare = faiss.fvec_L2sqr_ny if euclidean else faiss.fvec_inner_products_ny
        compare(*arrays, dimensions, count)
    else:
        compare = faiss.fvec_L2sqr_by_idx if euclidean else faiss.fvec_inner_products_by_idx
        compare(*arrays, faiss.swig_ptr(rows), dimensions, 1, len(rows))
    return np.negative(values, out=values) if euclidean else values


def write(index: Any, sink: Callable[[bytes], int]) -> None:
    faiss = _faiss()
    faiss.write_index(index, faiss.PyCallbackIOWriter(sink))


def read(path: str) -> Any:
    """Opens a written index; where it can, it maps the file rather than reading it."""
    faiss = _faiss()
    # Windows would not let go of a file that is mapped
    return faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC if os.name == "posix" else 0)
