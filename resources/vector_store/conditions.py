"""Which values are vectors of a type and a width: conditions by which mongod finds the others.

MongoDB compares binary data by length, then subtype, then bytes, of which a vector's first two are
its header: the vectors of one type and width are a range, and nothing else lies in it. So millions
of documents are looked at without a vector leaving the server.
"""

from typing import Any

import numpy as np
from bson.binary import VECTOR_SUBTYPE, Binary

from resources.core.vectors import NUMPY_TYPES, Dtype, bson_header, element_of, width


def of_width(dtype: Dtype, dimensions: int, *, zeros: bool = True) -> dict[str, Any]:
    """For the field of a vector; NaN and infinity pass.

    Args:
        dtype: As stored.
        dimensions: Of the space.
        zeros: Whether a vector of nothing but zeros passes.
    """
    if dtype == "array":
        no_numbers = {"$elemMatch": {"$not": {"$type": "number"}}}
        condition: dict[str, Any] = {"$size": dimensions, "$not": no_numbers}
        return condition if zeros else condition | {"$elemMatch": {"$ne": 0}}
    element = element_of(dtype)
    size = width(element, dimensions) * np.dtype(NUMPY_TYPES[element]).itemsize
    header = bson_header(element)
    first, last = (Binary(header + end * size, VECTOR_SUBTYPE) for end in (b"\x00", b"\xff"))
    return {"$gte" if zeros else "$gt": first, "$lte": last}
