"""Queries with the documents that somebody, or something, has judged to answer them."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.core.keys import key


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of one document as an answer.

    Attributes:
        id: Of the source document, of the type that the source has.
        grade: The higher, the better; 0: it was looked at, and is no answer.
    """

    id: Any
    grade: int = 1


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """One query of a set.

    Attributes:
        id: Its name in the set, for people and for files of TREC's.
        text: As a person would ask.
        judgements: Of documents, each once; none that is relevant: nothing there answers it.
        filter: MQL over the index's filter fields, that the query is asked with.
        segments: Groups that it belongs to, by name, where the set says so.
    """

    id: str
    text: str
    judgements: Sequence[Judgement] = ()
    filter: Mapping[str, Any] | None = None
    segments: Mapping[str, str] = field(default_factory=dict)

    @property
    def grades(self) -> dict[str, int]:
        """Grades above 0 by the document's key."""
        return {key(each.id): each.grade for each in self.judgements if each.grade > 0}

    @property
    def answerable(self) -> bool:
        """Whether anything is relevant."""
        return any(each.grade > 0 for each in self.judgements)

    def digest(self) -> int:
        """Of all that a measurement goes by."""
        grades = sorted((key(each.id), each.grade) for each in self.judgements)
        segments = sorted(self.segments.items())
        said = [self.id, self.text, grades, _in_order(self.filter), segments]
        text = json.dumps(said, ensure_ascii=False)
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest(), "big")


def _in_order(condition: Any) -> Any:
    """A filter as JSON that is the same for all that ask for the same documents."""
    if isinstance(condition, Mapping):
        return {name: _in_order(condition[name]) for name in sorted(condition)}
    if isinstance(condition, list | tuple):
        return list(map(_in_order, condition))
    return None if condition is None else key(condition)


class QuerySet(ABC):
    """A set of judged queries, read anew whenever it is iterated over.

    Attributes:
        notes: What a person should know about what the figures can claim, as sentences.
        known_item: Each query was made from its only relevant document.
    """

    notes: Sequence[str] = ()
    known_item: bool = False

    @abstractmethod
    def __iter__(self) -> Iterator[JudgedQuery]:
        """The queries one after another, always in one order.

        Raises:
            EvaluationError: The set cannot be used; the message names what and where.
        """

    @abstractmethod
    def describe(self) -> str:
        """In a few words: `jsonl configs/quickstart_queries.jsonl`."""


def digest(queries: Iterator[JudgedQuery] | Sequence[JudgedQuery]) -> str:
    """The same for the same queries, in whatever order they come."""
    return digest_of(sum(query.digest() for query in queries))


def digest_of(total: int) -> str:
    """Of queries whose own digests have this sum."""
    return f"{total % (1 << 256):064x}"[:16]
