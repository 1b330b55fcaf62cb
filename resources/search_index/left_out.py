"""What a search index silently leaves out: the documents are there and no search finds them.

Source: mongot's `IndexableFieldFactory`; the documentation admits only values that are no arrays
of floats. Nothing of it can be asked of the server, so the stored values are looked at.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from pymongo.collection import Collection

from resources.sources.fields import lookup
from resources.vector_store.formats import (
    Quantization,
    Similarity,
    dtype_of,
    element_of,
    from_bson,
    width,
)

NAMED = 5
"""Ids of documents that are named for each reason."""


def left_out(
    collection: Collection,
    wanted: Mapping[str, Any],
    *,
    path: str,
    dimensions: int,
    similarity: Similarity,
    quantization: Quantization,
) -> str:
    """Counts by reason with the first ids, for people; empty where nothing is left out.

    Args:
        collection: Of the vectors.
        wanted: Which documents should be in the index.
        path: Of the vector.
        dimensions: Of the index; likewise what follows.
        similarity: How it compares.
        quantization: What it does to floats.
    """
    reasons: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for document in collection.find(wanted, {path: 1}, batch_size=1_000):
        reason = why_left_out(lookup(document, path), dimensions, similarity, quantization)
        if reason:
            reasons[reason] += 1
            named = examples.setdefault(reason, [])
            if len(named) < NAMED:
                named.append(str(document["_id"]))
    return "; ".join(
        f"{count:,} ({reason}): {', '.join(examples[reason])}{', …' if count > NAMED else ''}"
        for reason, count in reasons.most_common()
    )


def why_left_out(
    value: Any, dimensions: int, similarity: Similarity, quantization: Quantization
) -> str:
    """The reason for one stored value; empty where it is indexed."""
    dtype = dtype_of(value)
    if dtype is None:
        return "no vector"
    try:
        vector = from_bson(value)
    except (ValueError, TypeError):
        return "an array of something else than numbers"
    element = element_of(dtype)
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
