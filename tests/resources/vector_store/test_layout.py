"""What is stored for a framework's reader is what it can make JSON of, whatever is carried."""

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from resources.core.chunks import Chunk
from resources.core.plain import id_text, plain
from resources.core.vectors import VectorFormat
from resources.vector_store.layout import laid_out, place, placed, why_unreadable

NAMES = st.text("abcdef_", min_size=1, max_size=6)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=8),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    MOMENTS,
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.uuids().map(Binary.from_uuid),
    st.binary(max_size=8),
    st.binary(max_size=8).map(lambda value: Binary(value, 128)),
    st.decimals(allow_nan=True, places=2, min_value=-(10**9), max_value=10**9).map(Decimal128),
    st.just(DatetimeMS(2**55)),
    st.just(Regex("^a", "i")),
    st.just(Timestamp(1, 2)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=4)
LINEAGE = {"space": "s", "model": "m", "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "token": 7}

# As a client has it that nobody has set up.
DEFAULT: CodecOptions = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME)


def read_back(layout: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """A document's fields as a reader's own client decodes them."""
    stored = laid_out(layout, Chunk.whole("a", "text", fields), LINEAGE, "embedding_lineage")
    return bson.decode(bson.encode(dict(stored)), codec_options=DEFAULT)


@given(FIELDS)
def test_langchain_makes_json_of_all_that_is_carried(fields):
    utils = pytest.importorskip("langchain_mongodb.utils")
    found = read_back("langchain", fields)
    assert found.keys() == fields.keys()
    for name, value in fields.items():  # its filters compare them as they were
        if isinstance(value, str | int | ObjectId | datetime):
            assert found[name] == value
    utils.make_serializable(found)
    json.dumps(found, allow_nan=False)


@given(FIELDS)
def test_llamaindex_reads_the_node_and_writes_it_as_it_was(fields):
    utils = pytest.importorskip("llama_index.core.vector_stores.utils")
    metadata = read_back("llamaindex", fields)["metadata"]
    json.dumps(metadata, allow_nan=False)
    node = utils.metadata_dict_to_node(metadata)
    assert node.metadata.keys() == {*fields, "embedding_lineage"}
    assert node.metadata["embedding_lineage"]["at"] == "2026-01-02T03:04:05"
    again = utils.node_to_metadata_dict(node, remove_text=True)
    del again["embedding_lineage"]
    assert again == metadata


def test_values_are_what_people_expect():
    identifier = uuid.UUID(int=5)
    assert plain(datetime(2026, 1, 2, 3, tzinfo=UTC)) == "2026-01-02T03:00:00"
    assert plain(Decimal128(Decimal("12.30"))) == 12.3
    assert plain(Binary.from_uuid(identifier)) == plain(identifier) == str(identifier)
    assert plain(b"\x00\xff") == "AP8="
    assert id_text(7) == "7"
    assert id_text({"part": 1}) == '{"part": 1}'


@given(MOMENTS, MOMENTS)
def test_dates_as_text_are_in_the_order_of_dates(first, second):
    assert (plain(first) < plain(second)) == (first < second)


@pytest.mark.parametrize(
    ("chunk_id", "fits"),
    [
        *[
            ("a", True),
            (7, True),
            (2.5, True),
            (ObjectId("65f0a1b2c3d4e5f601234567"), True),
            (datetime(2026, 1, 1), True),
        ],
        *[(Binary.from_uuid(uuid.UUID(int=1)), False), ({"a": 1}, False), (True, False)],
        *[(Decimal128("1"), False), (b"\xff", False), (DatetimeMS(2**55), False)],
    ],
    ids=repr,
)
def test_ids_that_langchain_takes(chunk_id, fits):
    """Asked of its own class: what it refuses would fail a whole search, not one document."""
    documents = pytest.importorskip("langchain_core.documents")
    utils = pytest.importorskip("langchain_mongodb.utils")
    chunk = Chunk.whole(chunk_id, "text", {})
    assert bool(why_unreadable("langchain", chunk)) is not fits
    assert not why_unreadable("llamaindex", chunk)
    found = {"_id": chunk_id}
    utils.make_serializable(found)
    if fits:
        made = documents.Document(page_content="text", metadata=found, id=found["_id"])
        assert json.loads(json.dumps(made.metadata))


def test_filters_name_fields_as_the_source_does():
    carried = ("kind", "at.day", "chunked")
    assert place("llamaindex", "kind", carried) == "metadata.kind"
    assert place("llamaindex", "at", carried) == "metadata.at"
    assert place("llamaindex", "at.day", carried) == "metadata.at.day"
    for name in ("source_id", "chunk.index", "metadata.kind", "kinds"):
        assert place("llamaindex", name, carried) == name
    for layout in ("plain", "langchain"):
        assert place(layout, "kind", carried) == "kind"
        assert placed(layout, {"kind": 1}, carried) == {"kind": 1}
    moment = datetime(2026, 1, 2)
    clause = {
        "$or": [{"kind": {"$in": [moment, "a"]}}, {"source_id": moment}],
        "at.day": {"$not": {"$gte": moment}},
    }
    assert placed("llamaindex", clause, carried) == {
        "$or": [
            {"metadata.kind": {"$in": ["2026-01-02T00:00:00", "a"]}},
            {"source_id": moment},
        ],
        "metadata.at.day": {"$not": {"$gte": "2026-01-02T00:00:00"}},
    }


def test_a_format_says_its_layout_and_is_found_by_its_values():
    formats = [
        VectorFormat("float32", "array", layout="langchain"),
        VectorFormat("float32", "int8", "float32"),
        VectorFormat("float32", "packed_bit"),
    ]
    for stored in formats:
        assert VectorFormat.parse("float32", str(stored)) == stored
    assert str(formats[0]) == "array, laid out for langchain"
    alike = {str(found) for found in formats[0].alike()}
    assert {"array", "float32", "array, laid out for llamaindex"} <= alike
    assert {found.values for found in formats[1].alike()} == {"int8, rescored by float32"}
