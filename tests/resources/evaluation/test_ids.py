"""Ids in another type than the source's: converted, and the conversion that would fit is found."""

from collections.abc import Sequence
from typing import Any

import pytest
from bson.binary import Binary
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from resources.core.keys import key
from resources.evaluation.ids import converted, suggestion
from tests.resources.sources.bson_values import IDS

OIDS = st.binary(min_size=12, max_size=12).map(ObjectId)
UUIDS = st.uuids().map(Binary.from_uuid)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@given(value=IDS)
def test_as_written_changes_nothing(value: Any):
    assert converted(value, "as_written") is value


@given(value=st.one_of(OIDS, UUIDS, INTEGERS))
def test_text_is_what_the_other_conversions_take(value: Any):
    names = {ObjectId: "objectid", Binary: "uuid", int: "integer"}
    back: Any = names[type(value)]
    text = converted(value, "text")
    assert type(text) is str
    assert key(converted(text, back)) == key(value)
    assert key(converted(value, back)) == key(value)


KINDS: dict[Any, type] = {"text": str, "integer": int, "objectid": ObjectId, "uuid": Binary}


@given(value=IDS, ids=st.sampled_from(sorted(KINDS)))
def test_what_cannot_be_had_is_refused_by_name(value: Any, ids: Any):
    found, refused = None, ""
    try:
        found = converted(value, ids)
    except ValueError as error:
        refused = str(error)
    if refused:
        assert refused.endswith(f"cannot be an id of `ids: {ids}`")
    else:
        assert isinstance(found, KINDS[ids])
        assert key(converted(found, ids)) == key(found)


class Store:
    def __init__(self, ids: Sequence[Any]) -> None:
        self.keys, self.asked = set(map(key, ids)), 0

    def there(self, ids: Sequence[Any]) -> set[str]:
        self.asked += 1
        return self.keys & set(map(key, ids))


HEX = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("stored", "judged", "ids"),
    [
        ([1, 2, 3], ["1", "2", "3"], "integer"),
        (["1", "2"], [1, 2], "text"),
        ([ObjectId(HEX)], [HEX], "objectid"),
        ([HEX], [ObjectId(HEX)], "text"),
        ([Binary(b"\0" * 15 + b"\x0a", 4)], ["00000000-0000-0000-0000-00000000000a"], "uuid"),
        ([1, 2, 3], [1, 2, 9], None),
        ([1, 2, 3], ["x", "y"], None),
        (["1"], ["1", "7"], None),
        ([1], [], None),
    ],
)
def test_the_conversion_that_fits_is_suggested(
    stored: list[Any], judged: list[Any], ids: str | None
):
    store = Store(stored)
    found = suggestion(iter(judged), store.there)
    assert (found.ids if found else None) == ids
    assert store.asked <= 5
    if found:
        assert str(found).endswith(f"with `ids: {ids}`: set that beside the queries")
        assert (found.there, found.of) == (len(stored), len(judged))


def test_only_the_beginning_of_a_long_set_is_looked_at():
    def ids() -> Any:
        for number in range(101):
            assert number < 100
            yield str(number)

    assert suggestion(ids(), Store(range(50)).there) is not None
