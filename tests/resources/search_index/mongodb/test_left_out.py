"""What an index leaves out, found by the server: the same as the stand-in for search nodes finds.

The two know nothing of each other: one asks by ranges of bytes, the other takes values apart.
"""

import itertools
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pymongo
import pytest
from bson.binary import Binary, BinaryVectorDtype
from bson.int64 import Int64
from pymongo.collection import Collection

from resources.core.vectors import to_bson
from resources.search_index.mongodb.left_out import left_out
from tests.search_node.content import indexed

WIDTH = 8


def floats(*values: float) -> Binary:
    return Binary.from_vector(np.array(values, np.float32), BinaryVectorDtype.FLOAT32)


def int8(*values: int) -> Binary:
    return Binary.from_vector(list(values), BinaryVectorDtype.INT8)


VALUES: dict[str, Any] = {
    "floats": floats(*range(1, 9)),
    "small floats": floats(*[0] * 7, 1e-30),
    "negative floats": floats(*[-3e38] * 8),
    "zeros": floats(*[0] * 8),
    "too short": floats(1, 2, 3),
    "too long": floats(*range(9)),
    "int8": int8(*range(8)),
    "int8, negative": int8(*[-1] * 8),
    "int8, zeros": int8(*[0] * 8),
    "int8 of as many bytes as the floats": int8(*[5] * 32),
    "bits": to_bson(np.array([0b10100101], np.uint8), "packed_bit"),
    "bits, all set": to_bson(np.array([255], np.uint8), "packed_bit"),
    "too many bits": to_bson(np.array([1, 2], np.uint8), "packed_bit"),
    "padded bits": Binary.from_vector([0b10100000], BinaryVectorDtype.PACKED_BIT, padding=3),
    "array": [1.0] * 8,
    "array of integers": [1, 2, 3, 4, 5, 6, 7, Int64(8)],
    "array of zeros": [0.0] * 8,
    "short array": [1.0] * 7,
    "array with a text": [1.0] * 7 + ["8"],
    "array with a truth": [1.0] * 7 + [True],
    "array of arrays": [[1.0] * 8],
    "empty array": [],
    "text": "a vector",
    "null": None,
    "other binary": Binary(bytes(floats(*range(1, 9)))),
    "a document": {"0": 1.0},
    "no header": Binary(b"'", 9),
    "no such type": Binary(b"\x99\x00" + bytes(32), 9),
}


@pytest.fixture
def collection(mongod_uri: str) -> Iterator[Collection]:
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri)
    database = client[f"test_{secrets.token_hex(6)}"]
    database["v"].insert_many([{"_id": name, "e": {"v": value}} for name, value in VALUES.items()])
    database["v"].insert_one({"_id": "missing"})
    yield database["v"]
    client.drop_database(database.name)
    client.close()


@pytest.mark.parametrize(
    ("similarity", "quantization", "int8_too"),
    list(
        itertools.product(
            ["cosine", "dotProduct", "euclidean"], ["none", "scalar", "binary"], [True, False]
        )
    ),
)
def test_both_leave_out_the_same(collection, similarity, quantization, int8_too):
    field = {
        "path": "e.v",
        "numDimensions": WIDTH,
        "similarity": similarity,
        "quantization": quantization,
    }
    kept = {key for key, *_ in indexed(collection, field, 0, int8_too).values()}
    found = left_out(
        collection,
        {},
        path="e.v",
        dimensions=WIDTH,
        similarity=similarity,
        quantization=quantization,
        int8_too=int8_too,
    )
    assert ("int8" in kept) == (quantization == "none" or (quantization == "binary" and int8_too))
    wanted = {*VALUES, "missing"} - kept
    assert 0 < len(kept) < len(wanted)
    assert found.count == len(wanted)
    for reason, fault in found.faults.items():
        assert set(fault.examples) <= wanted, reason
