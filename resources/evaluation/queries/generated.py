"""Known-item queries: a piece of a document, which is to find the document again."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, field_validator

from resources.core.errors import EvaluationError
from resources.core.keys import key
from resources.evaluation.judged import JudgedQuery, Judgement, QuerySet
from resources.evaluation.queries.provider import QueriesProvider, Where
from resources.evaluation.queries.record import name_of
from resources.evaluation.queries.sampling import Sample
from resources.sources.fields import MISSING, check_path, inside, lookup
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource

FIRST_SENTENCE = "first_sentence"

_COMMON = 20
"""Documents with one text between them say that it names none of them."""
_LONGEST = 60
"""Words of a query."""
_READ = 4_000
"""Characters of a text in which its first sentence is looked for."""
_BLANK = re.compile(r"\n\s*\n")
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]")  # noqa: RUF001


class GeneratedQueries(QueriesProvider):
    """Known-item queries: a field, or the first sentence, of a document has to find it again.

    They cost nothing, and tell whether search works and which of two is better at this; not how
    well it answers what people ask.
    """

    kind: Literal["generated"] = "generated"
    sample: int = Field(
        default=200, ge=1, le=100_000, description="Queries at most, one for each text."
    )
    field: str = Field(
        default=FIRST_SENTENCE,
        alias="from",
        min_length=1,
        description="What of a document is asked: a field of the source that names it, such as "
        "`title`, dotted if nested; or `first_sentence` of the text that is embedded.",
    )
    seed: int = Field(default=0, description="Another seed, another choice of documents.")
    min_words: int = Field(
        default=2, ge=1, description="A field of fewer words names no document: it is left out."
    )

    @field_validator("field")
    @classmethod
    def _path(cls, value: str) -> str:
        return check_path(value, "from")

    def open(self, where: Where) -> QuerySet:
        return _Generated(self, where)


@dataclass
class _Question:
    """A text with the documents that it is of."""

    text: str
    ids: dict[str, Any] = field(default_factory=dict)
    documents: int = 0

    @property
    def common(self) -> bool:
        return len(self.ids) > _COMMON

    def add(self, document: SourceDocument) -> None:
        self.documents += 1
        if not self.common:
            self.ids[key(document.id)] = document.id


class _Generated(QuerySet):
    known_item = True

    def __init__(self, settings: GeneratedQueries, where: Where) -> None:
        self._settings, self._where = settings, where
        self._left_out: dict[str, int] = {}

    def describe(self) -> str:
        return f"generated from {_said(self._settings.field)} of {self._where.source.describe()}"

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]
        """Complete once the queries have been read."""
        field = self._settings.field
        embedded = "is" if _is_embedded(field, self._where.source) else "is not"
        return (
            f"known-item queries: each is {_said(field)} of the document that it has to find",
            f"{_said(field)} {embedded} part of the text that is embedded",
            "they say nothing of text or hybrid search, which looks for a document's own words",
            *self._reasons(),
        )

    def _reasons(self) -> Iterator[str]:
        for why, count in sorted(self._left_out.items()):
            yield f"{count:,} documents are left out: {why}"

    def __iter__(self) -> Iterator[JudgedQuery]:
        settings = self._settings
        sample: Sample[_Question] = Sample(settings.sample, settings.seed)
        left_out: dict[str, int] = {}
        for document in documents(self._where, settings.field):
            text, why = self._asked(document)
            if why:
                left_out[why] = left_out.get(why, 0) + 1
                continue
            place = sample.place(text)
            if place is None:
                continue
            question = sample.get(place) or _Question(text)
            question.add(document)
            sample.put(place, question)
        queries = list(self._queries(sample, left_out))
        self._left_out = left_out
        if not queries:
            source = self._where.source
            why = "; ".join(self._reasons()) or "it has no documents"
            known = dict.fromkeys([*source.text_shape().fields, *source.carry, FIRST_SENTENCE])
            others = ", ".join(each for each in known if each != settings.field)
            raise EvaluationError(
                f"no query can be made from {_said(settings.field)} of {source.describe()} ({why})"
                f": name another field with `from`, such as one of {others}"
            )
        yield from sorted(queries, key=lambda query: query.id)

    def _queries(
        self, sample: Sample[_Question], left_out: dict[str, int]
    ) -> Iterator[JudgedQuery]:
        for question in sample:
            if question.common:
                why = f"their text is that of more than {_COMMON} documents"
                left_out[why] = left_out.get(why, 0) + question.documents
                continue
            judged = [Judgement(each) for _, each in sorted(question.ids.items())]
            yield JudgedQuery(name_of(question.text), question.text, judged)

    def _asked(self, document: SourceDocument) -> tuple[str, str]:
        """What of a document is asked; or nothing, and why."""
        settings = self._settings
        if settings.field == FIRST_SENTENCE:
            found: Any = first_sentence(document.text)
        else:
            found = lookup(document.fields, settings.field)
        if found is MISSING or found is None:
            return "", "the field is missing"
        if not isinstance(found, str):
            return "", "the field is no text"
        words = found.split()
        if len(words) < settings.min_words:
            return "", f"it has fewer than {settings.min_words} words"
        return " ".join(words[:_LONGEST]), ""


def documents(where: Where, field: str = FIRST_SENTENCE) -> Iterator[SourceDocument]:
    """The source's documents, each with a field that it may not carry; others are left out.

    Raises:
        SourceError: It cannot be read.
    """
    source = where.source
    carried = any(field == each or inside(field, each) for each in source.carry)
    if field != FIRST_SENTENCE and not carried:
        others = [each for each in source.carry if not inside(each, field)]
        source = source.model_copy(update={"carry": [*others, field]})
    for record in source.read(where.client):
        if not isinstance(record, RejectedRecord):
            yield record


def first_sentence(text: str) -> str:
    """The first sentence of a text; of one without an end, its first paragraph."""
    begun = text[:_READ].strip().lstrip("#*->= \t")
    paragraph = _BLANK.split(begun, 1)[0]
    for end in _END.finditer(paragraph):
        sentence = paragraph[: end.end()]
        if len(sentence.split()) > 3 or end.group() in "。！？":  # noqa: RUF001
            return sentence  # "Dr." ends none
    return paragraph


def _is_embedded(name: str, source: SourceResource) -> bool:
    """Whether the text that is embedded is made of a field."""
    return name == FIRST_SENTENCE or any(
        name == each or inside(name, each) for each in source.text_shape().fields
    )


def _said(name: str) -> str:
    return "the first sentence" if name == FIRST_SENTENCE else f"the field {name!r}"
