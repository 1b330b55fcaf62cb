"""One filter path of all documents, held in memory as a column: built, asked, stored as arrays."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.search_index.filters.values import SINGLE, Kind, canonical, leaves

Mask = NDArray[np.bool_]


class FilterColumnBuilder:
    """Collects one filter path of documents, batch by batch."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._parts = path.split(".")
        self._elements: list[dict[Any, int]] = [{} for _ in Kind]  # key -> order of arrival
        self._count = 0
        # The distinct value sets of documents. Almost always a single value: then its number alone.
        self._sets: dict[int | tuple[int, ...], int] = {}
        self._codes = array("i")

    def append(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Adds documents; a key that is the whole dotted path goes before a nested document."""
        for document in documents:
            if self.path in document:
                found = leaves(document[self.path], ())
            else:
                found = leaves(document, self._parts)
            self._codes.append(self._set(found))

    def extend(self, column: "FilterColumn", rows: NDArray[np.int64]) -> None:
        """Adds documents of a finished column, in the order of `rows`."""
        codes = column.codes[rows]
        known = np.zeros(column.sets, np.int32)
        for code in np.unique(codes).tolist():
            known[code] = self._set(column.values(code))
        self._codes.frombytes(known[codes].tobytes())

    def _set(self, values: Iterable[tuple[Kind, Any]]) -> int:
        numbers = [self._number(kind, key) for kind, key in values]
        members = numbers[0] if len(numbers) == 1 else tuple(sorted(set(numbers)))
        return self._sets.setdefault(members, len(self._sets))

    def _number(self, kind: Kind, key: Any) -> int:
        # One dictionary per kind: in one for all, Python would merge 1 and True.
        known = self._elements[kind]
        number = known.get(key)
        if number is None:
            number = known[key] = self._count
            self._count += 1
        return number

    def finish(self) -> "FilterColumn":
        tables: list[Any] = []
        rank = np.empty(self._count, np.int32)
        base = 0
        for kind in Kind:
            known = self._elements[kind]
            keys = sorted(known)
            rank[[known[key] for key in keys]] = np.arange(base, base + len(keys), dtype=np.int32)
            base += len(keys)
            tables.append(_table(kind, keys))
        sets = [members if isinstance(members, tuple) else (members,) for members in self._sets]
        offsets = np.zeros(len(sets) + 1, np.int64)
        np.cumsum([len(members) for members in sets], out=offsets[1:])
        flat = np.fromiter(chain.from_iterable(sets), np.int64, count=int(offsets[-1]))
        codes = np.frombuffer(self._codes, np.int32).copy()
        return FilterColumn(self.path, codes, offsets, rank[flat], tables)


def _table(kind: Kind, keys: list[Any]) -> Any:
    """The sorted keys of one kind, as compact as they can be without changing a comparison."""
    if kind is Kind.NUMBER:
        if all(float(key) == key for key in keys):
            return np.array(keys, np.float64)
        return [Decimal(key) for key in keys]  # exact also for integers beyond 2^53
    if kind is Kind.DATE:
        return np.array(keys, np.int64)
    return keys


class FilterColumn:
    """One filter path of all documents, dictionary-encoded.

    A predicate is evaluated once per distinct value: values of one kind are sorted, so that every
    predicate is a few slices of them, which carry over to documents by their code.
    """

    def __init__(
        self,
        path: str,
        codes: NDArray[np.int32],
        set_offsets: NDArray[np.int64],
        set_elements: NDArray[np.int32],
        tables: Sequence[Any],
    ) -> None:
        """Takes over arrays.

        Args:
            path: The dotted path.
            codes: (documents,) number of the document's value set.
            set_offsets: (sets + 1,) where each set begins in `set_elements`.
            set_elements: Numbers of values, counted through all tables.
            tables: Sorted values, one sequence for each kind.
        """
        self.path = path
        self.codes = codes
        self._set_offsets = set_offsets
        self._set_elements = set_elements
        self._tables = tables
        self._bases = np.concatenate([[0], np.cumsum([len(table) for table in tables])]).tolist()

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def sets(self) -> int:
        """How many different value sets the documents have."""
        return len(self._set_offsets) - 1

    def values(self, code: int) -> list[tuple[Kind, Any]]:
        """The values of one set: kind and key, as `leaves` gives them."""
        start, stop = self._set_offsets[code : code + 2].tolist()
        found = []
        for number in self._set_elements[start:stop].tolist():
            kind = Kind(bisect_right(self._bases, number) - 1)
            if kind in SINGLE:
                key: Any = 0
            else:
                key = self._tables[kind][number - self._bases[kind]]
            found.append((kind, key.item() if isinstance(key, np.generic) else key))
        return found

    def matches(self, condition: Any) -> Mask:
        """(documents,) for a validated condition: a value, or a mapping of operators."""
        return self._sets_matching(condition)[self.codes]

    def _sets_matching(self, condition: Any) -> Mask:
        if not isinstance(condition, Mapping):
            return self._any([self._slice("$eq", condition)])
        result = np.ones(len(self._set_offsets) - 1, np.bool_)
        for operator, operand in condition.items():
            if operator == "$not":
                result &= ~self._sets_matching(operand)
            elif operator in ("$in", "$nin"):
                found = self._any([self._slice("$eq", value) for value in operand])
                result &= found if operator == "$in" else ~found
            elif operator == "$exists":
                found = self._any([slice(self._bases[Kind.NULL], None)])
                result &= found if operand else ~found
            elif operator == "$ne":
                result &= ~self._any([self._slice("$eq", operand)])
            else:
                result &= self._any([self._slice(operator, operand)])
        return result

    def _slice(self, operator: str, operand: Any) -> slice:
        """The values that match, as numbers through all tables."""
        kind, key = canonical(operand)
        if kind in SINGLE:
            if operator in ("$gt", "$lt"):  # nothing is above or below null or NaN
                return slice(0, 0)
            # null equals missing, and the two tables are neighbours
            first = Kind.MISSING if kind is Kind.NULL else kind
            return slice(self._bases[first], self._bases[kind + 1])
        table, base = self._tables[kind], self._bases[kind]
        # float: NumPy would round the integer it compares with
        plain = float if isinstance(table, np.ndarray) and kind is Kind.NUMBER else None
        start, stop = 0, len(table)
        if operator in ("$eq", "$gte"):
            start = bisect_left(table, key, key=plain)
        elif operator == "$gt":
            start = bisect_right(table, key, key=plain)
        if operator in ("$eq", "$lte"):
            stop = bisect_right(table, key, key=plain)
        elif operator == "$lt":
            stop = bisect_left(table, key, key=plain)
        return slice(base + start, base + stop)

    def _any(self, slices: list[slice]) -> Mask:
        """Which sets hold a value of the slices; an empty set holds none."""
        elements = np.zeros(self._bases[-1], np.bool_)
        for part in slices:
            elements[part] = True
        before = np.zeros(len(self._set_elements) + 1, np.int64)
        np.cumsum(elements[self._set_elements], out=before[1:])
        bounds = before[self._set_offsets]
        return bounds[1:] > bounds[:-1]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` takes; no array holds Python objects."""
        arrays: dict[str, NDArray[Any]] = {
            "codes": self.codes,
            "set_offsets": self._set_offsets,
            "set_elements": self._set_elements,
        }
        for kind, table in zip(Kind, self._tables, strict=True):
            if isinstance(table, np.ndarray) or kind in SINGLE or kind is Kind.BOOLEAN:
                arrays[f"values{kind}"] = np.asarray(table, _dtype(kind))
            else:
                raw = [key if isinstance(key, bytes) else str(key).encode() for key in table]
                arrays[f"values{kind}"] = np.frombuffer(b"".join(raw), np.uint8)
                arrays[f"ends{kind}"] = np.cumsum([len(item) for item in raw], dtype=np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, path: str, arrays: Mapping[str, NDArray[Any]]) -> "FilterColumn":
        """Raises KeyError where an array is missing."""
        tables: list[Any] = []
        for kind in Kind:
            values = arrays[f"values{kind}"]
            if f"ends{kind}" not in arrays:
                compact = kind in (Kind.NUMBER, Kind.DATE)
                tables.append(values if compact else values.tolist())
                continue
            blob, ends = values.tobytes(), arrays[f"ends{kind}"].tolist()
            raw = [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            if kind is Kind.NUMBER:
                tables.append([Decimal(item.decode()) for item in raw])
            else:
                tables.append([item.decode() for item in raw] if kind is Kind.STRING else raw)
        sets = arrays["set_offsets"], arrays["set_elements"]
        return cls(path, arrays["codes"], *sets, tables)


def _dtype(kind: Kind) -> str:
    return {Kind.NUMBER: "float64", Kind.DATE: "int64", Kind.BOOLEAN: "bool"}.get(kind, "uint8")
