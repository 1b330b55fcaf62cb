"""What a search index silently leaves out: the documents are there and no search finds them.

Source: mongot's `IndexableFieldFactory`; the documentation admits only values that are no arrays
of floats. Nothing of it can be asked of the search nodes, whose count includes such documents, so
mongod is asked for stored values that no index takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bson.binary import VECTOR_SUBTYPE, Binary
from bson.int64 import Int64
from pymongo.collection import Collection

from resources.sources.fields import lookup
from resources.vector_store.formats import (
    Element,
    Quantization,
    Similarity,
    bson_header,
    dtype_of,
    element_of,
    from_bson,
    width,
)

NAMED = 5
"""Ids of documents that are named for each reason."""
_BYTES: dict[Element, int] = {"float32": 4, "int8": 1, "packed_bit": 1}


@dataclass
class LeftOut:
    """Documents by the reason for which the index leaves their vector out."""

    reasons: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.reasons.values())

    def add(self, reason: str, chunk_id: Any) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        named = self.examples.setdefault(reason, [])
        if len(named) < NAMED:
            named.append(str(chunk_id))

    def describe(self) -> str:
        """Counts by reason with the first ids, for people; empty where nothing is left out."""
        most = sorted(self.reasons.items(), key=lambda item: -item[1])
        return "; ".join(
            f"{count:,} ({reason}): {', '.join(self.examples[reason])}"
            + (", …" if count > NAMED else "")
            for reason, count in most
        )


def left_out(
    collection: Collection,
    wanted: Mapping[str, Any],
    *,
    path: str,
    dimensions: int,
    similarity: Similarity,
    quantization: Quantization,
) -> LeftOut:
    """The documents whose vector is not in the index; of the others nothing leaves the server.

    NaN and infinity are not looked for: no vector with them is ever written.

    Args:
        collection: Of the vectors.
        wanted: Which documents should be in the index.
        path: Of the vector.
        dimensions: Of the index; likewise what follows.
        similarity: How it compares.
        quantization: What it does to floats.
    """
    elements: list[Element] = ["float32"]
    if quantization == "none":
        elements.append("int8")
        if similarity == "euclidean":
            elements.append("packed_bit")
    indexable: list[dict[str, Any]] = [
        {path: _between(element, dimensions, similarity)} for element in elements
    ]
    no_numbers = {"$elemMatch": {"$not": {"$type": "number"}}}
    array: dict[str, Any] = {"$size": dimensions, "$not": no_numbers}
    if similarity == "cosine":
        array["$elemMatch"] = {"$ne": 0}
    indexable.append({path: array})
    found = LeftOut()
    suspects = {**wanted, "$nor": indexable}
    for document in collection.find(suspects, {path: 1}, batch_size=1_000):
        reason = why_left_out(lookup(document, path), dimensions, similarity, quantization)
        if reason:
            found.add(reason, document["_id"])
    return found


def _between(element: Element, dimensions: int, similarity: Similarity) -> dict[str, Binary]:
    """A range that holds the vectors of one element type and width, and nothing else.

    MongoDB compares binary data by length, then subtype, then bytes, of which a vector's first two
    are its header. Of one without a cosine all others are zero, so it is the range's lower end.
    """
    size = width(element, dimensions) * _BYTES[element]
    header = bson_header(element)
    first, last = (Binary(header + end * size, VECTOR_SUBTYPE) for end in (b"\x00", b"\xff"))
    return {"$gt" if similarity == "cosine" else "$gte": first, "$lte": last}


def why_left_out(
    value: Any, dimensions: int, similarity: Similarity, quantization: Quantization
) -> str:
    """The reason for one stored value; empty where it is indexed."""
    dtype = dtype_of(value)
    if dtype is None:
        return "no vector"
    # NumPy would take "8" and True for numbers.
    if dtype == "array" and not all(type(x) in (float, int, Int64) for x in value):
        return "an array of something else than numbers"
    vector, element = from_bson(value), element_of(dtype)
    reason = ""
    if vector.ndim != 1 or len(vector) != width(element, dimensions):
        reason = f"not of {dimensions} dimensions"
    elif element == "float32" and not np.isfinite(vector).all():
        reason = "NaN or infinity"
    elif element == "packed_bit" and similarity != "euclidean":
        reason = f"bits, which {similarity} cannot compare"
    elif element != "float32" and quantization != "none":
        reason = f"{element} in an index that quantizes floats"
    elif similarity == "cosine" and not vector.any():
        reason = "all zeros, which has no cosine"
    return reason
