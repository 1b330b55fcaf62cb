"""What many queries find: source documents and scores, by the path of any other search."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assets.work.searching.finding import Asked, Finding, Reranking
from assets.work.searching.queries import shortened
from assets.work.searching.request import Request
from assets.work.searching.serving import Serving
from resources.core.errors import QueryRefused
from resources.core.keys import key
from resources.search_index.query import Hit, Query
from resources.vector_store.store import SOURCE_FIELD

DEPTH = 100
"""Source documents that are looked at of each answer."""
CANDIDATES = Query(10).candidates
"""That an approximate search considers: as many as one for ten does by itself."""

KNOWN = 200_000
"""Documents of which it is remembered whose they are."""


@dataclass(frozen=True)
class Question:
    """One of many.

    Attributes:
        text: As a person would ask.
        vector: Its own, as the provider returned it, shape (columns,); None where the mode needs
            none.
        filter: MQL over the index's filter fields.
    """

    text: str
    vector: np.ndarray | None = None
    filter: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Found:
    """What one question finds.

    Attributes:
        hits: Id of the source document and score, the best first; each document once.
        notes: What a person should know about this answer, as sentences.
    """

    hits: Sequence[tuple[Any, float]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class BareServing(Serving):
    """A state of an index whose hits come without their texts, for who only counts them.

    Attributes:
        known: The source document's id of each document that was asked for, by key.
    """

    known: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def bare(cls, serving: Serving) -> "BareServing":
        return cls(**vars(serving))

    def documents(self, hits: Sequence[Hit]) -> dict[str, Mapping[str, Any]]:
        """Only whose they are: of what many queries find, each is asked for once."""
        names = {key(hit.id): hit.id for hit in hits}
        missing = [at for name, at in names.items() if name not in self.known]
        if missing:
            if len(self.known) > KNOWN:
                self.known.clear()
                missing = list(names.values())
            self.known.update(self.store.source_ids(missing))
        return {name: {SOURCE_FIELD: self.known[name]} for name in names if name in self.known}


def rankings(
    serving: Serving,
    questions: Sequence[Question],
    request: Request,
    reranking: Reranking | None,
) -> list[Found]:
    """Of each question, in their order."""
    findings = [_finding(serving, each, request, reranking) for each in questions]
    present = serving.documents([best.hit for found in findings for best in found.best])
    return [
        Found(
            [
                (_source(serving, best.hit.id, present[name]), best.hit.score)
                for best in found.best
                if (name := key(best.hit.id)) in present
            ],
            found.notes,
        )
        for found in findings
    ]


def _source(serving: Serving, hit: Any, document: Mapping[str, Any]) -> Any:
    # Of a source's own document, that field is whatever it is.
    return hit if serving.store.in_place else document.get(SOURCE_FIELD, hit)


def _finding(
    serving: Serving, question: Question, request: Request, reranking: Reranking | None
) -> Finding:
    asked = Asked(question.text, question.vector)
    mine = dataclasses.replace(request, filter=serving.store.placed(question.filter))
    try:
        serving.index.check(mine.query)
        return Finding.of(serving, asked, mine, reranking)
    except QueryRefused as error:
        raise QueryRefused(f"the query {shortened(question.text)}: {error}") from error
