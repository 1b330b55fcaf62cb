"""Values of every BSON type, for tests that generate them."""

import datetime
import struct

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import strategies as st

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NAMES = st.sampled_from(["a", "b", "c d", "é"])
DATES = st.one_of(
    st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
)
NUMBERS = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.binary(min_size=8, max_size=8).map(lambda raw: struct.unpack("<d", raw)[0]),
    st.decimals(places=2, min_value=-(10**30), max_value=10**30).map(Decimal128),  # 34 digits fit
    st.sampled_from(["NaN", "-0", "0.00", "1E+6000", "-Infinity", "5.0", "5.00"]).map(Decimal128),
)
BINARIES = st.one_of(
    st.binary(max_size=20),
    st.builds(Binary, st.binary(max_size=20), st.sampled_from([0, 1, 2, 5, 6, 8, 128, 255])),
    st.builds(Binary, st.binary(min_size=16, max_size=16), st.sampled_from([3, 4])),
    st.uuids().map(Binary.from_uuid),
)
SCALARS = st.one_of(
    TEXTS,
    NUMBERS,
    DATES,
    BINARIES,
    st.booleans(),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.builds(Timestamp, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
    st.sampled_from([MinKey(), MaxKey(), Code("f()"), Code("f()", {"a": 1})]),
)
INNER = SCALARS | st.sampled_from([None, Regex("^a", "i"), DBRef("c", 1)])
VALUES = st.recursive(
    INNER,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
IDS = SCALARS | st.dictionaries(NAMES, VALUES, max_size=3)
UUID_REPRESENTATIONS = ("standard", "pythonLegacy", "javaLegacy", "csharpLegacy")
