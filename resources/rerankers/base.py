"""What every reranker does: read the query and each candidate together, and say how well they fit.

A reranker gives scores, and the caller sorts: `Ranking.order`. Scores of one ranking compare with
one another; those of two models do not.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.core.errors import ProviderError, QueryRefused
from resources.embedders.packing import estimate_tokens
from resources.rerankers.facts import Facts

_NOISE = 1e-6
"""Relative; less is what the same sum comes to in another order."""


@dataclass(frozen=True)
class Candidate:
    """What a first search found.

    Attributes:
        id: `_id` of the document.
        text: That was embedded; None where there is none any more.
    """

    id: Any
    text: str | None


@dataclass(frozen=True)
class Scored:
    """What a model said of candidates that all have a text.

    Attributes:
        scores: In their order, the higher the better; None or not finite for one that got none.
        tokens: As billed; None where that is not known.
        refused: Why one got none, by its position.
    """

    scores: Sequence[float | None]
    tokens: int | None = None
    refused: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """The candidates of one search, read again.

    Attributes:
        scores: In the order of the candidates; None for one without a text, or without a score.
        tokens: As billed, or as a local model counts them; None where that is not known.
        seconds: From the question to the last score.
        flat: The model gave different texts one score: it ranks nothing.
        notes: What whoever reads the answer should know, each a sentence.
    """

    scores: tuple[float | None, ...]
    tokens: int | None = None
    seconds: float = 0.0
    flat: bool = False
    notes: tuple[str, ...] = ()

    def order(self) -> list[int]:
        """Positions of the candidates, best first; of equal ones, the first search's order.

        Those without a score come last. Where the scores say nothing, the first order is kept.
        """
        places = range(len(self.scores))
        if self.flat:
            return list(places)
        known = [(score is None, -(score or 0.0)) for score in self.scores]
        return sorted(places, key=known.__getitem__)


class Reranker(ABC):
    """Any number of threads may ask one; whoever opens it closes it.

    Attributes:
        facts: Which model it is, and what it costs.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @abstractmethod
    def score(self, query: str, candidates: Sequence[Candidate]) -> Scored:
        """Scores of candidates that have a text each, at least one; one cannot cost the others.

        Raises:
            EmbeddingsError: None of them can be had.
        """

    def prepare(self) -> None:  # noqa: B027  (most are ready as they are)
        """Be ready for the first search, and find out what would keep it from being answered.

        To be called before anything is paid for: it says what is wrong best.

        Raises:
            EmbeddingsError: Something would.
        """

    def close(self) -> None:  # noqa: B027  (some hold nothing)
        """Let go of connections and models."""

    def scores(self, query: str, candidates: Sequence[Candidate]) -> Ranking:
        """Read what a first search found.

        Args:
            query: As a person asked it.
            candidates: Best first.

        Raises:
            QueryRefused: The query is empty.
            ProviderError: No candidate got a score, though one has a text.
        """
        if not query.strip():
            raise QueryRefused("the query is empty: say what to look for")
        start = time.monotonic()
        whole = [
            Candidate(candidate.id, _encodable(candidate.text or "")) for candidate in candidates
        ]
        held = [at for at, candidate in enumerate(whole) if (candidate.text or "").strip()]
        if not held:
            return Ranking((None,) * len(whole), tokens=0)
        asked = [whole[at] for at in held]
        found = self.score(_encodable(query), asked)
        numbers = self._numbers(found, len(asked))
        scores: list[float | None] = [None] * len(whole)
        for at, number in zip(held, numbers, strict=True):
            scores[at] = number
        flat = _is_flat(numbers, asked)
        return Ranking(
            tuple(scores),
            found.tokens,
            time.monotonic() - start,
            flat,
            tuple(self._notes(found, numbers, flat=flat)),
        )

    def _numbers(self, found: Scored, asked: int) -> list[float | None]:
        if len(found.scores) != asked:
            raise ProviderError(
                f"{self.facts} gave {len(found.scores)} scores for {asked} texts: nobody can tell "
                "whose they are; search again, or without `rerank`"
            )
        numbers = [
            float(score) if score is not None and math.isfinite(score) else None
            for score in found.scores
        ]
        if all(number is None for number in numbers):
            why = next(iter(found.refused.values()), "none of them is a number")
            raise ProviderError(
                f"{self.facts} gave none of {asked} texts a score: {why}; choose another model "
                "for `rerank`, or search without"
            )
        return numbers

    def _notes(
        self, found: Scored, numbers: Sequence[float | None], *, flat: bool
    ) -> Sequence[str]:
        notes = []
        lost = sum(number is None for number in numbers)
        if lost:
            why = next(iter(found.refused.values()), "it is not a number")
            notes.append(
                f"{self.facts} gave {lost:,} of {len(numbers):,} texts no score ({why}): they "
                "stand last"
            )
        if flat:
            one = next(number for number in numbers if number is not None)
            notes.append(
                f"{self.facts} gave all {len(numbers) - lost:,} texts the score {one:.4g}, which "
                "ranks nothing: the order of the first search is kept; choose another model for "
                "`rerank`"
            )
        return notes


class TextReranker(Reranker, ABC):
    """One that is sent the texts themselves, wherever they lie."""

    def rerank(self, query: str, texts: Sequence[str | None]) -> Ranking:
        """`scores` of texts that are no documents."""
        return self.scores(query, [Candidate(at, text) for at, text in enumerate(texts)])


def estimated_tokens(query: str, texts: Sequence[str]) -> int:
    """As they are billed: the query counts for every text anew."""
    return len(texts) * estimate_tokens(query) + sum(map(estimate_tokens, texts))


def _is_flat(numbers: Sequence[float | None], asked: Sequence[Candidate]) -> bool:
    known = [number for number in numbers if number is not None]
    texts = {each.text for each, number in zip(asked, numbers, strict=True) if number is not None}
    if len(texts) < 2:  # the same text has the same score
        return False
    least, most = min(known), max(known)
    return most - least <= _NOISE * max(abs(least), abs(most))


def _encodable(text: str) -> str:
    """Without halves of characters, which a command line may bring and no encoder takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
