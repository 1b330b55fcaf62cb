"""The quickstart's judged queries fit its texts, and do not ask in the texts' own words."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from resources.core.paths import CODE_ROOT

FIELDS = {"kind", "year", "topics"}
"""That quickstart.yaml lets a search filter by."""


def _lines(name: str) -> list[dict[str, Any]]:
    text = (CODE_ROOT / "configs" / name).read_text("utf-8")
    return [json.loads(line, object_pairs_hook=_each_once) for line in text.splitlines()]


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


QUERIES = _lines("quickstart_queries.jsonl")
TEXTS = {text["id"]: text for text in _lines("quickstart.jsonl")}


def test_each_query_is_one():
    for query in QUERIES:
        assert query.keys() in ({"id", "query", "relevant"}, {"id", "query", "relevant", "filter"})
        assert query["query"].strip() == query["query"] != ""
    for name in ("id", "query"):
        assert len({query[name].casefold() for query in QUERIES}) == len(QUERIES)


def test_what_is_relevant_is_a_text_that_the_filter_lets_through():
    for query in QUERIES:
        for name, grade in query["relevant"].items():
            assert name in TEXTS, (query["id"], name)
            assert grade in (1, 2), (query["id"], name)
            assert _let_through(TEXTS[name], query.get("filter", {})), (query["id"], name)


def _let_through(text: Mapping[str, Any], by: Mapping[str, Any]) -> bool:
    """Equal, one of several, or below: what the set's filters say."""
    assert by.keys() <= FIELDS
    for field, wanted in by.items():
        value = text.get(field)
        if isinstance(wanted, dict):
            assert wanted.keys() == {"$lt"}
            if value is None or value >= wanted["$lt"]:
                return False
        elif value != wanted and wanted not in (value if isinstance(value, list) else ()):
            return False
    return True


def test_there_are_enough_of_every_sort():
    relevant = [query["relevant"] for query in QUERIES]
    assert len(QUERIES) >= 100
    assert sum(not each for each in relevant) >= 8
    assert sum(len(each) > 1 for each in relevant) >= 50
    assert sum("filter" in query for query in QUERIES) >= 10
    kinds = Counter(TEXTS[name]["kind"] for each in relevant for name in each)
    assert min(kinds[kind] for kind in ("film", "place", "howto", "science")) >= 35
    grades = Counter(grade for each in relevant for grade in each.values())
    assert grades[1] >= 40
    # Whoever answers everything with the same few texts is not to look good.
    assert max(Counter(name for each in relevant for name in each).values()) <= 6


def test_many_ask_in_other_words_than_the_answer_has():
    """No word of four letters or more of the query stands in the text that answers it best."""
    others = [query for query in QUERIES if query["relevant"] and not _shares_a_word(query)]
    assert len(others) >= 35


def _shares_a_word(query: Mapping[str, Any]) -> bool:
    best = max(query["relevant"].values())
    answers = [name for name, grade in query["relevant"].items() if grade == best]
    asked = set(_words(query["query"]))
    return any(asked & set(_words(TEXTS[name]["text"])) for name in answers)


def _words(text: str) -> Iterator[str]:
    return (word for word in re.findall(r"\w+", text.casefold()) if len(word) >= 4)
