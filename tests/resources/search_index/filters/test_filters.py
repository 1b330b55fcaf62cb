from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID

import bson
import numpy as np
import pymongo
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId, Regex
from bson.codec_options import CodecOptions, UuidRepresentation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.core.errors import QueryRefused
from resources.search_index.filters.columns import FilterColumn, FilterColumnBuilder
from resources.search_index.filters.evaluation import evaluate, validate

ALL = list(HealthCheck)
PATHS = ("a", "b", "n.x", "n.m.y")
DAY = datetime(2026, 11, 23, 12, 30, 0, 123_000)
# Few values, so that documents and filters meet; neighbours of each other in one way or another.
SCALARS = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    -0.0,
    2,
    Int64(2),
    1.5,
    Decimal128("1.5"),
    Decimal128("0.1"),
    0.1,
    2**53,
    Int64(2**53 + 1),
    float(2**53),
    float("inf"),
    float("nan"),
    Decimal128("NaN"),
    Decimal128("-Infinity"),
    "",
    "1",
    "a",
    "A",
    "é",
    "\U0001f600",
    "\uffff",
    DAY,
    DAY + timedelta(milliseconds=1),
    datetime(1969, 12, 31, 23, 59, 59, 999_000),
    ObjectId("656565656565656565656565"),
    ObjectId("656565656565656565656566"),
    UUID(int=1),
    UUID(int=2**100),
    Binary(UUID(int=1).bytes, 4),
]
# No other binary data: find compares it with UUIDs, the index does not hold it.
OTHERS = [{"z": 1}, {}, Regex("a"), Code("a"), bson.Timestamp(1, 1), [1], []]

scalars = st.sampled_from(SCALARS)
leaves = st.one_of(
    scalars,
    scalars,
    st.lists(st.one_of(scalars, scalars, st.sampled_from(OTHERS)), max_size=3),
    st.sampled_from(OTHERS),
)
levels = st.fixed_dictionaries({}, optional={"x": leaves, "y": leaves})
middles = st.fixed_dictionaries(
    {}, optional={"x": leaves, "m": st.one_of(levels, levels, leaves, st.lists(levels, max_size=2))}
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "a": leaves,
        "b": leaves,
        "n": st.one_of(
            middles, middles, leaves, st.lists(st.one_of(middles, middles, leaves), max_size=3)
        ),
    },
)

operators = st.one_of(
    st.fixed_dictionaries(
        {}, optional={name: scalars for name in ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")}
    ).filter(lambda found: 0 < len(found) < 4),
    st.fixed_dictionaries({"$in": st.lists(scalars, max_size=3)}),
    st.fixed_dictionaries({"$nin": st.lists(scalars, max_size=3)}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
)
conditions = st.one_of(
    scalars, operators, operators, st.builds(lambda inner: {"$not": inner}, operators)
)
fields = st.dictionaries(st.sampled_from(PATHS), conditions, min_size=0, max_size=2)
clauses = st.recursive(
    fields,
    lambda inner: st.one_of(
        st.builds(
            lambda name, parts, more: {name: parts, **more},
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, min_size=1, max_size=3),
            fields,
        )
    ),
    max_leaves=4,
)


def build(documents: list[dict], paths: tuple[str, ...] = PATHS) -> dict[str, FilterColumn]:
    columns = {}
    for path in paths:
        builder = FilterColumnBuilder(path)
        for start in range(0, len(documents), 64):
            builder.append(documents[start : start + 64])
        columns[path] = builder.finish()
    return columns


@cache
def random_documents() -> list[dict]:
    found: list[dict] = []

    @settings(
        max_examples=600, derandomize=True, database=None, deadline=None, suppress_health_check=ALL
    )
    @given(documents)
    def collect(document: dict) -> None:
        found.append(document)

    collect()
    return found


@pytest.fixture
def find_and_columns(mongod_uri: str) -> Iterator[tuple]:
    """600 random documents in a real collection, and the same as columns."""
    found = random_documents()
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri, uuidRepresentation="standard")
    collection = client["filters"]["documents"]
    collection.drop()
    collection.insert_many({"_id": i, **document} for i, document in enumerate(found))
    # as the index reads them: through BSON
    stored = list(collection.find().sort("_id", 1))
    yield collection, build(stored), len(stored)
    client.drop_database("filters")
    client.close()


def test_means_what_find_means(find_and_columns: tuple) -> None:
    collection, columns, count = find_and_columns
    sizes = []

    @settings(
        max_examples=1200, derandomize=True, database=None, deadline=None, suppress_health_check=ALL
    )
    @given(clauses)
    def compare(clause: dict) -> None:
        expected = np.zeros(count, bool)
        expected[[found["_id"] for found in collection.find(clause, {"_id": 1})]] = True
        actual = evaluate(clause, columns)
        differing = np.flatnonzero(actual != expected)
        assert not len(differing), (clause, collection.find_one({"_id": int(differing[0])}))
        sizes.append(expected.mean())

    compare()
    telling = [size for size in sizes if 0 < size < 1]
    assert len(telling) > 400, "most filters pass everything or nothing: the test shows little"


def test_every_operator_with_every_value(find_and_columns: tuple) -> None:
    collection, columns, count = find_and_columns
    for path in PATHS:
        for value in SCALARS:
            for operator in ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"):
                clause = {path: {operator: value}}
                expected = np.zeros(count, bool)
                expected[[found["_id"] for found in collection.find(clause, {"_id": 1})]] = True
                assert (evaluate(clause, columns) == expected).all(), clause


def test_rows_of_several_columns_become_one_column(find_and_columns: tuple) -> None:
    _, columns, count = find_and_columns
    shuffled = np.random.default_rng(0).permutation(count)
    for path, column in columns.items():
        loaded = FilterColumn.from_arrays(path, column.to_arrays())
        builder = FilterColumnBuilder(path)
        builder.append([{}])
        for part, source in ((shuffled[:200], column), (shuffled[200:350], loaded)):
            builder.extend(source, part)
        merged = builder.finish()
        assert len(merged) == 351
        for value in SCALARS:
            for operator in ("$eq", "$gt", "$lte", "$ne"):
                whole = column.matches({operator: value})
                found = merged.matches({operator: value})
                assert (found[1:] == whole[shuffled[:350]]).all(), (path, operator, value)
                assert found[0] == build([{}], (path,))[path].matches({operator: value})[0]
        again = FilterColumn.from_arrays(path, merged.to_arrays())
        assert (again.matches({"$exists": True}) == merged.matches({"$exists": True})).all()


def test_columns_survive_as_arrays(find_and_columns: tuple) -> None:
    _, columns, _ = find_and_columns
    for path, column in columns.items():
        arrays = column.to_arrays()
        assert not any(values.dtype.hasobject for values in arrays.values())
        again = FilterColumn.from_arrays(path, arrays)
        for value in SCALARS:
            for operator in ("$eq", "$gt", "$lte"):
                condition = {operator: value}
                assert (again.matches(condition) == column.matches(condition)).all()


def test_large_integers_stay_exact_beside_doubles() -> None:
    big = 2**53
    documents = [{"a": float(big)}, {"a": Int64(big + 1)}, {"a": 0.5}]
    column = build(documents, ("a",))["a"]
    assert column.matches({"$gt": big}).tolist() == [False, True, False]
    # and where all stored numbers are doubles, only the filter's is not
    column = build(documents[:1], ("a",))["a"]
    assert not column.matches({"$gte": big + 1}).any()


def test_a_field_may_be_given_under_its_dotted_path() -> None:
    columns = build([{"n.x": 1}, {"n": {"x": 1}}, {"n.x": [2, 1]}, {"n.x": {"y": 1}}], ("n.x",))
    assert evaluate({"n.x": 1}, columns).tolist() == [True, True, True, False]


def test_a_date_with_a_zone_is_the_same_moment() -> None:
    columns = build([{"a": DAY}], ("a",))
    assert evaluate({"a": DAY.replace(tzinfo=UTC)}, columns).all()
    encoded = bson.encode({"a": DAY}, codec_options=CodecOptions(tz_aware=True))
    aware = bson.decode(encoded, codec_options=CodecOptions(tz_aware=True))
    assert evaluate({"a": DAY}, build([aware], ("a",))).all()


def test_a_uuid_is_the_same_in_either_representation() -> None:
    options = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
    encoded = bson.encode({"a": UUID(int=7)}, codec_options=options)
    plain = bson.decode(encoded)  # a Binary
    assert evaluate({"a": UUID(int=7)}, build([plain], ("a",))).all()
    assert evaluate({"a": Binary(UUID(int=7).bytes, 4)}, build([{"a": UUID(int=7)}], ("a",))).all()


def test_binary_data_that_is_no_uuid_exists_and_matches_nothing() -> None:
    columns = build([{"a": Binary(b"1")}, {"a": Binary(bytes(16), 3)}], ("a",))
    assert evaluate({"a": {"$exists": True}}, columns).all()
    assert not evaluate({"a": {"$lt": UUID(int=1)}}, columns).any()


def test_no_documents_and_no_columns() -> None:
    assert evaluate({"a": 1}, build([], ("a",))).shape == (0,)
    assert evaluate({}, {}, 3).tolist() == [True] * 3


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ({"c": 1}, "the filter names 'c', which is not a filter field .* declared are: 'a', 'b'"),
        ({"$or": [{"a": 1}, {"c": 1}]}, "names 'c'"),
        ({"a": {"$regex": "x"}}, r"unknown filter operator \$regex; allowed are \$eq, \$ne"),
        ({"$expr": {}}, r"unknown filter operator \$expr; allowed are \$and, \$or, \$nor"),
        ({"$not": {"a": 1}}, r"\$not belongs inside a field"),
        ({"a": {"$and": [{"$eq": 1}]}}, r"unknown filter operator \$and"),
        ({"a": [1]}, "compares 'a' with a value of type list; a value is boolean, date"),
        ({"a": Regex("x")}, "of type Regex"),
        ({"a": {"$gt": Binary(b"x")}}, "of type Binary"),
        ({"a": {"$in": [1, [2]]}}, "of type list"),
        ({"a": {"$in": 1}}, r"\$in on 'a' takes a list"),
        ({"a": {"$nin": "ab"}}, r"\$nin on 'a' takes a list"),
        ({"a": {"$exists": 1}}, r"\$exists on 'a' takes true or false, not a value of type int"),
        ({"a": {"$not": 1}}, r"\$not on 'a' takes operators"),
        ({"a": {"$not": {}}}, r"\$not on 'a' takes operators"),
        ({"a": {"$not": {"$regex": "x"}}}, r"unknown filter operator \$regex"),
        ({"a": {"x": 1}}, "compares 'a' with a document"),
        ({"a": {}}, "compares 'a' with a document"),
        ({"a": {"$gt": 1, "x": 1}}, r"on 'a' mixes operators with fields: \$gt, x"),
        ({"$and": []}, r"\$and takes a non-empty list"),
        ({"$or": {"a": 1}}, r"\$or takes a non-empty list"),
        ({"$and": [1]}, "a filter is a mapping of fields and operators, not a value of type int"),
        ([], "a filter is a mapping"),
    ],
)
def test_refuses(clause: object, message: str) -> None:
    with pytest.raises(QueryRefused, match=message):
        validate(clause, ["a", "b"])


def test_refuses_a_filter_without_end() -> None:
    clause: dict = {"a": 1}
    for _ in range(5000):
        clause = {"$and": [clause]}
    with pytest.raises(QueryRefused, match="nested more than"):
        validate(clause, ["a"])


def test_without_filter_fields_it_says_so() -> None:
    with pytest.raises(QueryRefused, match="declared are: none"):
        validate({"a": 1}, [])
