"""An index over the sample, held in memory a window at a time, that answers as an engine does."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from assets.work.evaluating.pieces import Pieces
from assets.work.evaluating.variants import Variant
from assets.work.evaluating.vectors import Vectors
from resources.core.keys import key
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Element, VectorFormat, element_of
from resources.models.cutting import cut
from resources.registry.indexes import IndexEntry
from resources.search_index.declaration import TextDeclaration
from resources.search_index.engine import ServedIndex
from resources.search_index.filters import evaluation as filters
from resources.search_index.filters.columns import FilterColumn, FilterColumnBuilder, Mask
from resources.search_index.filters.values import Kind, leaves
from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.order import order
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.text.building import TextBuilder
from resources.search_index.local.text.ranking import FullText
from resources.search_index.local.version import Version
from resources.search_index.query import Hit, Query
from resources.vector_store.store import SOURCE_FIELD, TEXT_FIELD

HELD_BYTES = 256 * 1024**2
"""Of vectors as floats that are held at once; more are gone through window by window."""
_BATCH = 1_000


@dataclass(frozen=True)
class Rows:
    """What of the sample a candidate's searches can find, whatever the width and format.

    Attributes:
        pieces: The chunks.
        ids: Of them; `sources` those of their documents.
        places: Of each, the row of its vector; -1 where it has none.
        filter_fields: By which queries may filter.
        text: Which words are searched, and how.
        in_place: Chunks are source documents.
    """

    pieces: Pieces
    ids: Sequence[Any]
    sources: Sequence[Any]
    places: np.ndarray
    filter_fields: Sequence[str]
    text: TextDeclaration
    in_place: bool

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The row of each chunk by its key."""
        return {key(each): row for row, each in enumerate(self.ids)}

    @cached_property
    def columns(self) -> Mapping[str, FilterColumn]:
        builders = [FilterColumnBuilder(path) for path in self.filter_fields]
        for start in range(0, len(self.ids), _BATCH) if builders else ():
            fields = self.pieces.fields(start, start + _BATCH)
            for builder in builders:
                builder.append(fields)
        return {builder.path: builder.finish() for builder in builders}

    @cached_property
    def words(self) -> FullText:
        """All texts, by the local engine's tokens and ranking."""
        tokenizer = self.text.tokenizer
        with TextBuilder(tokenizer) as builder:
            for start in range(0, len(self.ids), _BATCH):
                stop = min(start + _BATCH, len(self.ids))
                builder.add(map(self._searched, self.pieces.documents_of(start, stop)))
            made = builder.finish()
        return FullText([made], [None], tokenizer, lambda _, row: order(self.ids[row]))

    def _searched(self, chunk: tuple[str, Mapping[str, Any]]) -> str | None:
        text, fields = chunk
        if not self.text.fields:
            return text
        stored = fields if self.in_place else {**fields, TEXT_FIELD: text}
        found = []
        for path in self.text.fields:
            values = leaves(stored[path], ()) if path in stored else leaves(stored, path.split("."))
            found += [value for kind, value in values if kind is Kind.STRING]
        return "\n".join(found) if found else None

    def passing(self, condition: Mapping[str, Any]) -> Mask:
        """(chunks,)"""
        return filters.evaluate(condition, self.columns, len(self.ids))


class SampleIndex(ServedIndex):
    """Vectors and words of the sample as one candidate stores them in one variant."""

    def __init__(
        self, rows: Rows, vectors: Vectors | None, space: EmbeddingSpace, variant: Variant
    ) -> None:
        super().__init__(IndexEntry("sample", space.id, "the sample", None, len(rows.ids)))
        self._rows, self._vectors, self._space, self._variant = rows, vectors, space, variant
        self._whole: Version | None = None
        self._windows = list(self._spans()) if vectors is not None and variant.format else []

    @property
    def filter_fields(self) -> Sequence[str]:
        return self._rows.filter_fields

    def why_no_text(self) -> str:
        return ""

    def nearest(self, vector: np.ndarray, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        found = [hit for part in self._versions() for hit in part.search(vector, query)]
        if len(self._windows) > 1:
            found.sort(key=lambda hit: (-hit.score, order(hit.id)))
        return found[: query.limit]

    def matching(self, text: str, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        rows = self._rows
        passing = None if query.filter is None else [rows.passing(query.filter)]
        matches = rows.words.matching(text, query.limit, passing)
        return [Hit(rows.ids[match.row], match.score) for match in matches]

    def explain(self, vector: np.ndarray | None, text: str, query: Query) -> Mapping[str, Any]:
        return {}

    def why_empty(self, query: Query) -> str:
        return ""

    def fine(self, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Vectors of the finer field by key."""
        rows = [self._rows.numbers[key(each)] for each in ids]
        _, fine, _ = self._stored(np.array(rows, np.int64))
        assert fine is not None
        return {key(each): fine[at] for at, each in enumerate(ids)}

    def _stored(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, int]:
        assert self._vectors is not None
        assert self._variant.format is not None
        values = np.asarray(self._vectors.values[self._rows.places[rows]])
        return self._variant.format.fields(cut(values, self._space, self._variant.dimensions))

    def _spans(self) -> Iterator[np.ndarray]:
        """Rows that have a vector, as many at a time as may be held."""
        assert self._vectors is not None
        places = self._rows.places
        made = np.zeros(len(places), np.bool_)
        made[places >= 0] = self._vectors.made[places[places >= 0]]
        there = np.flatnonzero(made)
        size = max(1, HELD_BYTES // (4 * self._variant.dimensions))
        count = max(1, math.ceil(len(there) / size))
        return iter(np.array_split(there, count))

    def _versions(self) -> Iterator[Version]:
        if len(self._windows) > 1:
            yield from map(self._version, self._windows)
            return
        if self._whole is None:
            self._whole = self._version(self._windows[0])
        yield self._whole

    def _version(self, rows: np.ndarray) -> Version:
        variant = self._variant
        assert variant.format is not None
        shape = IndexShape(
            variant.dimensions,
            variant.similarity,
            tuple(self._rows.filter_fields),
            exact_below=len(rows),
            element=element_of(variant.format.dtype),
        )
        builder = SegmentBuilder(shape, expected=len(rows), flat=True)
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            main, _, _ = self._stored(part)
            ids = [self._rows.ids[row] for row in part.tolist()]
            builder.add(ids, main, self._fields(part))
        return Version(shape, [builder.finish()])

    def _fields(self, rows: np.ndarray) -> Sequence[Mapping[str, Any]]:
        if not self._rows.filter_fields or not len(rows):
            return [{}] * len(rows)
        first, last = int(rows[0]), int(rows[-1])
        fields = self._rows.pieces.fields(first, last + 1)
        return [fields[row - first] for row in rows.tolist()]


class Served:
    """The sample's index as a search takes the state of a pipeline's: see `searching.Serving`."""

    def __init__(
        self, rows: Rows, vectors: Vectors | None, space: EmbeddingSpace, variant: Variant
    ) -> None:
        self.index = SampleIndex(rows, vectors, space, variant)
        self.space, self._rows = space, rows
        self.store = _Store(self.index, rows, variant.format or VectorFormat("float32", "float32"))
        self.opened = SimpleNamespace(search_index=variant)
        self.fetched: Sequence[str] = ()
        self.leftover = None
        self.one_chunk_each = rows.pieces.one_chunk_each

    def documents(self, hits: Sequence[Hit]) -> dict[str, Mapping[str, Any]]:
        """By key: the row of each, and the document that it is of."""
        numbers, sources = self._rows.numbers, self._rows.sources
        found = {}
        for hit in hits:
            row = numbers[key(hit.id)]
            found[key(hit.id)] = {"row": row, SOURCE_FIELD: sources[row]}
        return found


@dataclass(frozen=True)
class _Store:
    """Of the sample's vectors, what a search asks of a store."""

    index: SampleIndex
    rows: Rows
    format: VectorFormat
    rescore_path: str = "the finer field"

    @property
    def element(self) -> Element:
        return element_of(self.format.dtype)

    def fine_vectors(self, ids: Sequence[Any], space_id: str) -> dict[str, np.ndarray]:
        return self.index.fine(ids) if ids else {}

    def text(self, document: Mapping[str, Any]) -> str:
        return self.rows.pieces.text(document["row"])


def scaled(stored: VectorFormat, scale: float) -> VectorFormat:
    """The format with its factor, where it needs one."""
    return dataclasses.replace(stored, scale=scale) if stored.needs_scale else stored
