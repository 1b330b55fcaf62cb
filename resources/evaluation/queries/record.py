"""A record of any origin as a judged query: `{id, query, relevant, filter, segments}`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bson.code import Code

from resources.core.keys import key, shown
from resources.evaluation.ids import Ids, converted
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.sources.fields import MISSING, lookup
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import BadRecord, rejected
from resources.sources.shape import RecordShape
from resources.sources.text import embeddable
from resources.sources.values import UNCONVERTIBLE, bson_value, describe_type, storable, storable_id

HIGHEST = 1_000
"""Grade: trec_eval counts the documents of every grade up to the highest in memory."""

GRADES = (
    f"grades are whole numbers up to {HIGHEST:,}, the higher the better; 0 and below: no answer"
)


@dataclass(frozen=True, slots=True)
class JudgedShape(RecordShape):
    """Where a record has what makes it a judged query.

    Attributes:
        id_field: Of its name; a query without one is named after what it asks.
        text: What is asked.
        relevant: Judged documents; empty where the record has none.
        filter: MQL, as a mapping or as JSON.
        segments: Groups that it belongs to.
        ids: The type of the judged ids.
        separator: Between the ids of a cell; empty where they are no cells of text.
        grade_separator: Between such an id and its grade; empty where they have none.
    """

    relevant: str = ""
    filter: str = ""
    segments: str = ""
    ids: Ids = "as_written"
    separator: str = ""
    grade_separator: str = ""

    @property
    def required(self) -> dict[str, str]:
        found = dict.fromkeys(self.text.fields, "query_field")
        return {**found, self.relevant: "relevant_field"} if self.relevant else found

    @property
    def fields(self) -> tuple[str, ...]:
        named = (self.id_field, self.relevant, self.filter, self.segments, *self.carry)
        return tuple(dict.fromkeys([*self.text.fields, *filter(None, named)]))

    def document(
        self, record: Mapping[str, Any], where: str, found: Any = None, *, is_bson: bool = False
    ) -> SourceDocument | RejectedRecord:
        """The judged query, as the field `judged` of a document, `where` it is, what is carried."""
        try:
            query = self._query(record, is_bson=is_bson)
        except BadRecord as bad:
            return rejected(where, bad.reason, record)
        carried = {name: self._get(record, name) for name in self.carry}
        fields = {"judged": query, "where": where, **carried}
        return SourceDocument(query.id, query.text, fields)

    def _query(self, record: Mapping[str, Any], *, is_bson: bool) -> JudgedQuery:
        (field,) = self.text.fields
        text = embeddable(lookup(record, field), f"the query (field {field!r})")
        condition = _filter(self._get(record, self.filter), self.filter)
        name = self._get(record, self.id_field)
        judged = []
        if self.relevant:
            what = f"field {self.relevant!r}"
            judged = self._judgements(lookup(record, self.relevant), what, is_bson=is_bson)
        return JudgedQuery(
            name_of(text, condition) if name in (None, "") else _name(name, self.id_field),
            text,
            judged,
            condition,
            _segments(self._get(record, self.segments), self.segments),
        )

    @staticmethod
    def _get(record: Mapping[str, Any], field: str) -> Any:
        value = lookup(record, field) if field else None
        return None if value is MISSING else value

    def _judgements(self, value: Any, what: str, *, is_bson: bool) -> list[Judgement]:
        if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
            value = _parsed(value, what)
        elif isinstance(value, str) and self.separator:
            value = [self._of_cell(each.strip()) for each in value.split(self.separator)]
            value = [each for each in value if each]
        if value is MISSING or value is None:
            raise BadRecord(
                f"{what} is {describe_type(value)}: name the documents that answer the query, and "
                "write [] where none does"
            )
        value = storable(value, what, is_bson=is_bson)
        if isinstance(value, Mapping):
            pairs: Iterable[tuple[Any, Any]] = value.items()
        elif isinstance(value, list | tuple):
            pairs = map(_pair, value)
        else:
            raise BadRecord(
                f"{what} is {describe_type(value)}: it is a list of ids, of objects "
                '{"id": …, "grade": …}, or an object of grades by id'
            )
        return judgements(
            (judged_id(name, self.ids, is_bson=is_bson), grade) for name, grade in pairs
        )

    def _of_cell(self, text: str) -> Any:
        if self.grade_separator and self.grade_separator in text:
            name, _, grade = text.rpartition(self.grade_separator)
            return {"id": name.strip(), "grade": written_grade(grade, name)}
        return text


def judged_id(value: Any, ids: Ids, *, is_bson: bool = False) -> Any:
    """The id of a judged document, in the type that is asked for.

    Raises:
        BadRecord: It is none, or cannot be had so.
    """
    name = storable_id(value, "a judged id", is_bson=is_bson)
    try:
        return converted(name, ids)
    except ValueError as error:
        raise BadRecord(f"the judged id {error}") from None


def judgements(pairs: Iterable[tuple[Any, Any]]) -> list[Judgement]:
    """Of ids with their grades, each document once.

    Raises:
        BadRecord: A grade is none, or a document has two.
    """
    found: dict[str, Judgement] = {}
    for name, value in pairs:
        grade = _grade(value, name)
        first = found.setdefault(key(name), Judgement(name, grade))
        if first.grade != grade:
            raise BadRecord(
                f"document {shown(name)} is judged twice, with the grades {first.grade} and "
                f"{grade}: keep one of them"
            )
    return list(found.values())


def written_grade(text: str, name: Any) -> int:
    """The grade that a file of words has written.

    Raises:
        BadRecord: It is none.
    """
    try:
        return _grade(float(text), name)
    except ValueError:
        raise BadRecord(f"the grade of {shown(name)} is {text!r}, no number: {GRADES}") from None


def name_of(text: str, condition: Mapping[str, Any] | None = None) -> str:
    """The name of a query that has none: the same for the same question."""
    asked = text if condition is None else f"{text}\0{key(condition)}"
    return "q" + hashlib.sha256(asked.encode()).hexdigest()[:15]


def _pair(entry: Any) -> tuple[Any, Any]:
    if isinstance(entry, Mapping) and set(entry) == {"id", "grade"}:
        return entry["id"], entry["grade"]
    if isinstance(entry, Mapping) and set(entry) == {"id"}:
        return entry["id"], 1
    return entry, 1


def _grade(value: Any, name: Any) -> int:
    named = "" if isinstance(value, bool) else key(value)
    if not named.startswith(("n", "q")):
        raise BadRecord(f"the grade of {shown(name)} is {describe_type(value)}: {GRADES}")
    # Infinity and a fraction are numbers, and none of these; -0 is 0.
    digits = named.removeprefix("n").removeprefix("-")
    if not digits.isdecimal() or len(digits) > 9 or int(named[1:]) > HIGHEST:
        raise BadRecord(f"the grade of {shown(name)} is {value}: {GRADES}")
    return int(named[1:])


def _name(value: Any, field: str) -> str:
    if isinstance(value, (Mapping, list, bool, Code)):
        raise BadRecord(f"field {field!r}, the query's id, is {describe_type(value)}")
    name = shown(storable_id(value, f"field {field!r}, the query's id"))
    return str(value) if not isinstance(value, str) and name.startswith("{") else name


def _filter(value: Any, field: str) -> Mapping[str, Any] | None:
    if value is None or value == "":
        return None
    what = f"the filter (field {field!r})"
    if isinstance(value, str):
        value = _parsed(value, what)
    if not isinstance(value, Mapping):
        raise BadRecord(
            f"{what} is {describe_type(value)}: it is an object of conditions by field, such as "
            '{"kind": "film"} or {"year": {"$gte": 1990}}'
        )
    if not all(isinstance(name, str) and name for name in value):
        raise BadRecord(f"{what} has a condition on a field without a name")
    return storable(value, what) or None


def _segments(value: Any, field: str) -> dict[str, str]:
    if value is None or value == "":
        return {}
    what = f"field {field!r}, the query's segments,"
    if isinstance(value, str):
        value = _parsed(value, what)
    value = storable(value, what)
    if not isinstance(value, Mapping):
        raise BadRecord(f"{what} is {describe_type(value)}: it is an object of groups by name")
    if any(isinstance(group, Mapping | list) for group in value.values()):
        raise BadRecord(f"{what} has a group that is no text")
    return {name: shown(group) for name, group in value.items() if group is not None}


def _parsed(text: str, what: str) -> Any:
    try:
        return bson_value(json.loads(text))
    except (*UNCONVERTIBLE, RecursionError) as error:
        raise BadRecord(f"{what} is text that is no JSON: {error}") from None
