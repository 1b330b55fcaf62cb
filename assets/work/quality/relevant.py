"""Which of the documents that are judged relevant searches could find at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assets.work.opened import Opened
from resources.core.errors import EvaluationError
from resources.core.keys import key, shown
from resources.core.windows import windows
from resources.evaluation.ids import suggestion
from resources.evaluation.judged import JudgedQuery

NAMED = 20
"""Of the documents that are not there so many are named."""
_IDS = 1_000


@dataclass
class Absent:
    """Relevant documents that are not there.

    Attributes:
        not_in_store: How many; `in_quarantine` likewise.
        queries: How many queries lack one.
        first: The first of them: query, document, and where it stands.
    """

    not_in_store: int = 0
    in_quarantine: int = 0
    queries: int = 0
    first: list[dict[str, str]] = field(default_factory=list)
    _counted: set[str] = field(default_factory=set)

    def count(self, name: str, *, held: bool) -> None:
        """One document, by its key: once, however many queries it is relevant to."""
        if name not in self._counted:
            self._counted.add(name)
            self.in_quarantine += held
            self.not_in_store += not held


@dataclass(frozen=True)
class Relevant:
    """The relevant documents of some queries.

    Attributes:
        stored: Fields of those that are there, by key.
        quarantined: Keys of those that stand in quarantine.
    """

    stored: Mapping[str, Mapping[str, Any]]
    quarantined: frozenset[str]

    def of_stored(self, query: JudgedQuery) -> JudgedQuery:
        """The query without the relevant documents that are not there."""
        left = [each for each in query.judgements if each.grade <= 0 or key(each.id) in self.stored]
        if len(left) == len(query.judgements):
            return query
        return JudgedQuery(query.id, query.text, left, query.filter, query.segments)

    def first(self, query: JudgedQuery) -> Mapping[str, Any] | None:
        """Fields of the first relevant document that is there."""
        keys = (key(each.id) for each in query.judgements if each.grade > 0)
        return next((self.stored[name] for name in keys if name in self.stored), None)

    def note_absent(self, queries: Iterable[JudgedQuery], absent: Absent) -> None:
        for query in queries:
            lacks = False
            for each in query.judgements:
                name = key(each.id)
                if each.grade <= 0 or name in self.stored:
                    continue
                lacks = True
                held = name in self.quarantined
                absent.count(name, held=held)
                if len(absent.first) < NAMED:
                    where = "in quarantine" if held else "not in the store"
                    row = {"query": query.id, "document": shown(each.id), "where": where}
                    absent.first.append(row)
            absent.queries += lacks


def relevant(o: Opened, queries: Sequence[JudgedQuery], fields: Sequence[str]) -> Relevant:
    """Look for the relevant documents of some queries.

    Args:
        o: The pipeline.
        queries: At most a window of them.
        fields: Of the documents, as they lie there.
    """
    ids = _relevant_ids(queries)
    stored: dict[str, Mapping[str, Any]] = {}
    for some in windows(ids.values(), _IDS):
        stored |= o.store.sources(some, fields, o.space.id)
    missing = [value for name, value in ids.items() if name not in stored]
    held: set[str] = set()
    for some in windows(missing, _IDS):
        held |= o.registry.quarantine.holding(o.lane, some)
    return Relevant(stored, frozenset(held))


def check_ids(o: Opened, ids: Sequence[Any], described: str) -> None:
    """Refuse a set none of whose ids is there, where those of another type would be.

    Raises:
        EvaluationError: With the conversion.
    """

    def there(some: Sequence[Any]) -> set[str]:
        return set(o.store.sources(some, [], o.space.id))

    if not ids or there(ids):
        return
    found = suggestion(ids, there)
    if found is not None:
        raise EvaluationError(f"{described}: {found}")


def _relevant_ids(queries: Iterable[JudgedQuery]) -> dict[str, Any]:
    return {
        key(each.id): each.id for query in queries for each in query.judgements if each.grade > 0
    }
