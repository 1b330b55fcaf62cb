"""Judged queries of every kind, for tests that generate them."""

from collections.abc import Sequence
from typing import Any

from bson.datetime_ms import DatetimeMS
from hypothesis import strategies as st

from resources.core.keys import key
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.sources.rejection import BadRecord
from resources.sources.values import storable_id
from tests.resources.sources.bson_values import IDS, SCALARS

SIGNS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.text(SIGNS | st.sampled_from("\"\\,;:\t \r\n{}[]'\u2028\ufeff"), min_size=1, max_size=12)
ASKED = TEXTS.filter(lambda text: text.strip())
FILTERS = st.dictionaries(
    st.sampled_from(["kind", "a.b", "year"]),
    SCALARS | st.dictionaries(st.sampled_from(["$in", "$gte", "$not"]), SCALARS, min_size=1),
    min_size=1,
    max_size=2,
)


def _is_id(value: Any) -> bool:
    try:
        storable_id(value, "it", is_bson=True)
    except BadRecord:
        return False
    if isinstance(value, DatetimeMS):  # before the year 1, or after 9999: SecantusDB takes none
        return False
    return not isinstance(value, dict) or not any(name.startswith("$") for name in value)


JUDGED = st.lists(
    st.builds(Judgement, IDS.filter(_is_id), st.integers(-2, 1_000) | st.just(1)),
    max_size=4,
    unique_by=lambda each: key(each.id),
)
QUERIES = st.builds(
    JudgedQuery,
    TEXTS,
    ASKED,
    JUDGED,
    st.none() | FILTERS,
    st.dictionaries(st.sampled_from(["length", "kind"]), TEXTS, max_size=2),
)
SETS: st.SearchStrategy[Sequence[JudgedQuery]] = st.lists(
    QUERIES, min_size=1, max_size=5, unique_by=lambda query: query.id
)
