"""The stage `$search`: what it refuses, what it finds, and with which score.

Of the operators: text, equals, in, range, exists and compound. The score of `text` is BM25 as
Lucene computes it (k1 = 1.2, b = 0.75), with exact lengths where Lucene keeps them in one byte;
analysis is a poor copy of Lucene's: words in small letters, English by a list of stop words alone.
Where the documentation is silent, less is indexed rather than more (tokens above 8,181 letters, a
Decimal128, a field that holds null), so that who relies on it loses documents here.
"""

import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from bson import Binary, ObjectId
from bson.int64 import Int64
from pymongo.collection import Collection

from tests.search_node.definitions import invalid, known
from tests.search_node.text_definitions import mapped

OPTIONS = {
    "index", "sort", "returnStoredSource", "concurrent", "count", "highlight", "scoreDetails",
    "searchAfter", "searchBefore", "tracking",
}  # fmt: skip
OPERATORS = {"text", "equals", "in", "range", "exists", "compound"}
CLAUSES = {"must", "mustNot", "should", "filter"}
MAX_CLAUSES = 1024
LONGEST_TOKEN = 8181
STOP_WORDS = set(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their "
        "then there these they this to was will with",
    )
)
_WORD = re.compile(r"[\u3040-\uffff]|[^\W_\u3040-\uffff]+")
Scores = dict[int, float]
Fields = dict[str, dict[str, Mapping[str, Any]]]


def check(stage: Mapping[str, Any]) -> str:
    """What is refused whatever index there is; returns the operator."""
    named = [name for name in stage if name not in OPTIONS]
    if len(named) != 1 or named[0] not in OPERATORS:
        raise invalid(f'"$search" must have exactly one operator of {sorted(OPERATORS)}')
    _check(named[0], stage[named[0]])
    return named[0]


def _check(operator: str, body: Any) -> None:
    match operator:
        case "compound":
            known("compound", body, {*CLAUSES, "minimumShouldMatch", "score"})
            if not any(body.get(name) for name in CLAUSES):
                raise invalid('"compound" must have at least one clause')
            for name in CLAUSES & set(body):
                if not isinstance(body[name], list) or not body[name]:
                    raise invalid(f'"compound.{name}" cannot be empty')
                for clause in body[name]:
                    if len(clause) != 1 or next(iter(clause)) not in OPERATORS:
                        raise invalid(f'"compound.{name}" holds something else than operators')
                    _check(*next(iter(clause.items())))
            if body.get("minimumShouldMatch", 0) > len(body.get("should", [])):
                raise invalid('"minimumShouldMatch" is above the number of should clauses')
        case "text":
            known("text", body, {"query", "path", "matchCriteria", "fuzzy", "score"})
            if not body.get("query"):
                raise invalid('"query" cannot be empty')
        case "equals":
            known("equals", body, {"path", "value", "score"})
        case "in":
            known("in", body, {"path", "value", "score"})
            values = body["value"] if isinstance(body["value"], list) else [body["value"]]
            if not values:
                raise invalid('"value" cannot be empty')
            if len({_type(value) for value in values}) > 1:
                raise invalid('"value" must be an array of only one type')
        case "range":
            known("range", body, {"path", "gt", "gte", "lt", "lte", "score"})
            bounds = [body[name] for name in ("gt", "gte", "lt", "lte") if name in body]
            if not bounds or {_type(b) for b in bounds} - {"number", "date", "token", "objectId"}:
                raise invalid('"range" takes numbers, dates, strings or objectIds')
        case "exists":
            known("exists", body, {"path", "score"})


def _type(value: Any) -> str:
    """The field type that holds such a value."""
    match value:
        case bool():
            return "boolean"
        case int() | float() | Int64():
            return "number"
        case str():
            return "token"
        case datetime():
            return "date"
        case ObjectId():
            return "objectId"
        case UUID():
            return "uuid"
        case Binary() if value.subtype == 4:
            return "uuid"
        case None:
            return "null"
    return "other"


def find(
    stage: Mapping[str, Any],
    definition: Mapping[str, Any],
    collection: Collection,
    behind: int,
    _int8_too: bool,
) -> list[tuple[Any, float]]:
    """Ids and scores, in the order asked for; else best first, ties in natural order reversed.

    Reversed, because nothing is promised of ties.
    """
    documents = list(collection.find().sort("$natural", 1))
    documents = documents[: len(documents) - behind]
    operator, fields = check(stage), mapped(definition)
    scores = _Index(documents, fields).scores(operator, stage[operator])
    places = sorted(scores, reverse=True)
    places.sort(key=lambda place: -_float32(scores[place]))
    if "sort" in stage:
        places = _ordered(places, stage["sort"], fields, scores, collection, documents)
    return [(documents[place]["_id"], _float32(scores[place])) for place in places]


def _ordered(
    places: list[int],
    wanted: Mapping[str, Any],
    fields: Fields,
    scores: Scores,
    collection: Collection,
    documents: list[Any],
) -> list[int]:
    keys: dict[str, Any] = {}
    for name, order in wanted.items():
        if isinstance(order, Mapping) and order.get("$meta") == "searchScore":
            keys["score"] = order.get("order", -1)
        elif not set(fields.get(name, {})) - {"string", "document"}:
            raise invalid(f'"sort" by {name!r}, which is not indexed for sorting')
        else:
            keys[f"document.{name}"] = order
    rows = [
        {"place": place, "score": _float32(scores[place]), "document": documents[place]}
        for place in places
    ]
    # The genuine mongod says what order means.
    found = collection.database.aggregate(
        [{"$documents": {"$literal": rows}}, {"$sort": keys}, {"$project": {"place": 1}}]
    )
    return [row["place"] for row in found] if rows else []


def _float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def values_at(document: Any, parts: list[str]) -> Iterator[Any]:
    """Single values: arrays, and documents in them, are gone through."""
    if isinstance(document, list):
        for element in document:
            yield from values_at(element, parts)
    elif not parts:
        yield document
    elif isinstance(document, Mapping) and parts[0] in document:
        yield from values_at(document[parts[0]], parts[1:])


def words(text: str, analyzer: str) -> list[str]:
    match analyzer:
        case "lucene.keyword":
            return [text]
        case "lucene.whitespace":
            return text.split()
        case "lucene.simple":
            return re.findall(r"[^\W\d_]+", text.lower())
    found = [word.lower() for word in _WORD.findall(text)]
    return [w for w in found if w not in STOP_WORDS] if analyzer == "lucene.english" else found


class _Index:
    def __init__(self, documents: list[Any], fields: Fields) -> None:
        self._documents, self._fields = documents, fields

    def scores(self, operator: str, body: Any) -> Scores:
        if operator == "compound":
            return self._compound(body)
        if operator == "text":
            return self._text(body)
        return dict.fromkeys(self._matching(operator, body), 1.0)

    def _compound(self, body: Mapping[str, Any]) -> Scores:
        def all_of(name: str) -> list[Scores]:
            return [self.scores(*next(iter(clause.items()))) for clause in body.get(name, [])]

        must, should, banned = all_of("must"), all_of("should"), all_of("mustNot")
        needed = [*must, *all_of("filter")]
        least = body.get("minimumShouldMatch", 0)
        if should and not must and not body.get("filter"):
            least = max(least, 1)
        found = {}
        for place in range(len(self._documents)):
            if not all(place in part for part in needed) or any(place in p for p in banned):
                continue
            optional = [part[place] for part in should if place in part]
            if len(optional) >= least:
                found[place] = sum(part[place] for part in must) + sum(optional)
        return found

    def _text(self, body: Mapping[str, Any]) -> Scores:
        paths = body["path"] if isinstance(body["path"], list) else [body["path"]]
        queries = body["query"] if isinstance(body["query"], list) else [body["query"]]
        scores: Scores = {}
        clauses = 0
        for path in paths:
            options = self._fields.get(path, {}).get("string")
            if options is None:
                continue  # a path that is not indexed finds nothing, and nothing says so
            analyzer = options.get("analyzer", "lucene.standard")
            terms = [word for query in queries for word in words(query, analyzer)]
            clauses += len(terms)
            for place, score in _bm25(self._words(path, analyzer), terms).items():
                scores[place] = scores.get(place, 0.0) + score
        if clauses > MAX_CLAUSES:
            raise invalid(f"maxClauseCount is set to {MAX_CLAUSES}")
        return scores

    def _words(self, path: str, analyzer: str) -> list[list[str]]:
        return [
            [
                word
                for value in values_at(document, path.split("."))
                if isinstance(value, str)
                for word in words(value, analyzer)
            ]
            for document in self._documents
        ]

    def _matching(self, operator: str, body: Mapping[str, Any]) -> Iterator[int]:
        path = body["path"]
        types = set(self._fields.get(path, {})) - {"string", "document"}
        matches: Callable[[Any], bool]
        if operator == "exists":
            matches = lambda value: True  # noqa: E731
        elif operator == "range":
            matches = lambda value: _within(value, body)  # noqa: E731
        else:
            given = body["value"]
            wanted = given if operator == "in" and isinstance(given, list) else [given]
            if _type(wanted[0]) not in types:
                raise invalid(f"Path '{path}' needs to be indexed as {_type(wanted[0])}")
            matches = lambda value: any(_same(value, each) for each in wanted)  # noqa: E731
        for place, document in enumerate(self._documents):
            held = values_at(document, path.split("."))
            if any(_kept(value, types) and matches(value) for value in held):
                yield place


def _kept(value: Any, types: set[str]) -> bool:
    kind = _type(value)
    return kind in types and not (kind == "token" and len(value) > LONGEST_TOKEN)


def _same(value: Any, other: Any) -> bool:
    kind = _type(value)
    if kind != _type(other):
        return False
    return bytes_of(value) == bytes_of(other) if kind == "uuid" else value == other


def bytes_of(value: Any) -> bytes:
    return value.bytes if isinstance(value, UUID) else bytes(value)


def _within(value: Any, bounds: Mapping[str, Any]) -> bool:
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
    }
    return all(
        _type(value) == _type(bounds[name]) and tests[name](value, bounds[name])
        for name in tests
        if name in bounds
    )


def _bm25(documents: list[list[str]], terms: list[str]) -> Scores:
    lengths = [len(document) for document in documents]
    holding = sum(1 for length in lengths if length)
    if not holding:
        return {}
    average = sum(lengths) / holding
    counts = [Counter(document) for document in documents]
    scores: Scores = {}
    for term, repeated in Counter(terms).items():
        places = [place for place, count in enumerate(counts) if count[term]]
        weight = math.log(1 + (holding - len(places) + 0.5) / (len(places) + 0.5))
        for place in places:
            often = counts[place][term]
            share = often / (often + 1.2 * (0.25 + 0.75 * lengths[place] / average))
            scores[place] = scores.get(place, 0.0) + repeated * weight * share
    return scores
