"""The stage `$search`: texts by their words, within one space, with what holds of a filter.

Source: "compound", "text" and "sort" of the MongoDB Search documentation. A person's words go
into the operator `text` as they are, which knows no operators, quotes or wildcards; a text without
any word, or of nothing but stop words, finds nothing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from resources.core.errors import QueryRefused
from resources.search_index.filters.evaluation import validate
from resources.search_index.mongodb.text_definition import filtered_paths, text_fields
from resources.search_index.mongodb.text_filter import implied
from resources.search_index.query import Query

SCORE = {"$meta": "searchScore"}
MOST_CLAUSES = 1_000
"""Words times fields: Lucene takes 1,024 clauses in one query, and refuses one more."""
_TIES = {"score": SCORE, "_id": 1}
# A word, or one character of a script that puts no spaces between words.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\U0010ffff]|[^\W_\u3040-\U0010ffff]{1,255}"
)


def build_stages(
    text: str,
    query: Query,
    *,
    index: str,
    definition: Mapping[str, Any],
    filters: Sequence[str],
    only: Mapping[str, str],
    ordered: bool = True,
) -> list[dict[str, Any]]:
    """`$search`, `$match` and `$limit`.

    Args:
        text: In a person's words.
        query: How to search.
        index: Name of the index.
        definition: What the index serves.
        filters: The fields that may be filtered by.
        only: Where a document names the space of its vector, and the space of this search.
        ordered: Of documents with one score the lower `_id` first; else they come as they like.

    Raises:
        QueryRefused: A filter that is none, or over other fields.
    """
    if query.filter:
        validate(query.filter, filters)
    paths = list(text_fields(definition))
    if not paths:
        raise QueryRefused(
            f"the index {index} holds no text: materialize search_index, which makes it as it is "
            "declared"
        )
    given = dict(query.filter or {})
    ((space_path, space_id),) = only.items()
    within = [{"equals": {"path": space_path, "value": space_id}}]
    search = {
        "index": index,
        "compound": {
            "must": [{"text": {"query": _cut(text, len(paths)), "path": paths}}],
            "filter": [*within, *implied(given, filtered_paths(definition))],
        },
        **({"sort": _TIES} if ordered else {}),
    }
    # The search nodes may be a moment behind: what the document says now decides.
    passing = {"$and": [dict(only), given]} if given else dict(only)
    return [{"$search": search}, {"$match": passing}, {"$limit": query.limit}]


def has_words(text: str) -> bool:
    """Whether there is anything to search for; the analyzer may leave out more."""
    return bool(text.strip())


def _cut(text: str, fields: int) -> str:
    """The text with as many words as a query can have; a page of text has more."""
    most = max(1, MOST_CLAUSES // fields)
    for number, word in enumerate(_WORD.finditer(text), 1):
        if number > most:
            return text[: word.start()]
    return text
