"""What an index holds: which values of a collection are indexed, and which are silently left out.

Source: mongot's `IndexableFieldFactory`, as far as it is published; the documentation admits only
"not an array of floats".
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from bson.binary import Binary, BinaryVectorDtype
from pymongo.collection import Collection

ELEMENTS = {
    BinaryVectorDtype.FLOAT32: "float32",
    BinaryVectorDtype.INT8: "int8",
    BinaryVectorDtype.PACKED_BIT: "int1",
}


def at(document: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document


def parse(value: Any) -> tuple[str, np.ndarray] | None:
    """Element type and values (of bits one for each) of a vector; None where it is none."""
    if isinstance(value, Binary) and value.subtype == 9:
        try:
            found = value.as_vector()
        except (ValueError, struct.error):
            return None
        element = ELEMENTS[found.dtype]
        if element == "int1":
            return element, np.unpackbits(np.array(found.data, np.uint8)).astype(np.float64)
        return element, np.array(found.data, np.float64)
    if isinstance(value, list) and value:
        if any(isinstance(x, bool) or not isinstance(x, int | float) for x in value):
            return None
        return "float32", np.array(value, np.float32).astype(np.float64)
    return None


def indexable(
    value: Any, field: Mapping[str, Any], int8_too: bool = False
) -> tuple[str, np.ndarray] | None:
    parsed = parse(value)
    if parsed is None:
        return None
    element, vector = parsed
    if len(vector) != field["numDimensions"] or not np.isfinite(vector).all():
        return None
    if field["similarity"] == "cosine" and not vector.any():
        return None
    quantization = field.get("quantization", "none")
    of_int8 = element == "int8" and quantization == "binary" and int8_too
    if element != "float32" and quantization != "none" and not of_int8:
        return None
    if element == "int1" and field["similarity"] != "euclidean":
        return None
    return parsed


def indexed(
    collection: Collection, field: Mapping[str, Any], behind: int = 0, int8_too: bool = False
) -> dict[int, tuple[Any, str, np.ndarray]]:
    """Id, element type and vector of the documents in the index, by their natural order.

    Args:
        behind: So many documents, the last ones, have not reached the index yet.
        int8_too: Atlas, since 19 October 2026, makes bits of int8 as well.
    """
    documents = list(collection.find({}, {field["path"]: 1}).sort("$natural", 1))
    found = {}
    for place, document in enumerate(documents[: len(documents) - behind]):
        parsed = indexable(at(document, field["path"]), field, int8_too)
        if parsed is not None:
            found[place] = (document["_id"], *parsed)
    return found


def stored(documents: list[Any], source: Any, collection: Collection) -> list[Any]:
    """What the search nodes' own copy has of documents: the genuine mongod projects it."""
    if not documents or source is True:
        return documents
    wanted = source.get("include")
    how = dict.fromkeys(["_id", *wanted], 1) if wanted else dict.fromkeys(source["exclude"], 0)
    given = {"$documents": {"$literal": documents}}
    return list(collection.database.aggregate([given, {"$project": how}]))
