"""What a search index silently leaves out: the documents are there and no search finds them.

Source: mongot's `IndexableFieldFactory`; the documentation admits only values that are no arrays
of floats. Nothing of it can be asked of the search nodes, whose count includes such documents, so
mongod is asked for stored values that no index takes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from bson.int64 import Int64
from pymongo.collection import Collection

from resources.core.tally import Tally
from resources.core.vectors import (
    Dtype,
    Quantization,
    Similarity,
    dtype_of,
    element_of,
    from_bson,
    quantizes,
    width,
)
from resources.sources.fields import lookup
from resources.vector_store.conditions import of_width


class LeftOut(Tally):
    """Documents by the reason for which the index leaves their vector out."""

    def describe(self) -> str:
        """Counts by reason with the first ids, for people; empty where nothing is left out."""
        most = sorted(self.faults.items(), key=lambda item: -item[1].count)
        return "; ".join(f"{fault.count:,} ({reason}): {fault}" for reason, fault in most)


def left_out(
    collection: Collection,
    wanted: Mapping[str, Any],
    *,
    path: str,
    dimensions: int,
    similarity: Similarity,
    quantization: Quantization,
    int8_too: bool,
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
        int8_too: See `quantizes`.
    """
    indexable: list[Dtype] = ["float32", "array"]
    if quantization == "none" or quantizes("int8", quantization, int8_too=int8_too):
        indexable.append("int8")
    if quantization == "none" and similarity == "euclidean":
        indexable.append("packed_bit")
    zeros = similarity != "cosine"
    conditions = [{path: of_width(dtype, dimensions, zeros=zeros)} for dtype in indexable]
    found = LeftOut()
    suspects = {**wanted, "$nor": conditions}
    for document in collection.find(suspects, {path: 1}, batch_size=1_000):
        value = lookup(document, path)
        reason = why_left_out(value, dimensions, similarity, quantization, int8_too=int8_too)
        if reason:
            found.add(reason, document["_id"])
    return found


def why_left_out(
    value: Any,
    dimensions: int,
    similarity: Similarity,
    quantization: Quantization,
    *,
    int8_too: bool,
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
    elif quantization != "none" and not quantizes(element, quantization, int8_too=int8_too):
        reason = f"{element} in an index that quantizes floats"
    elif similarity == "cosine" and not vector.any():
        reason = "all zeros, which has no cosine"
    return reason
