"""The judged queries as one candidate asks them: their vectors, and what they find."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np

from assets.work.budget import dollars
from assets.work.evaluating.index import Served
from assets.work.evaluating.sample import Sample
from assets.work.evaluating.variants import Variant
from assets.work.opened import Opened
from assets.work.searching.finding import Asked, Finding, Reranking
from assets.work.searching.queries import QueryEmbedder
from assets.work.searching.rankings import CANDIDATES, DEPTH
from assets.work.searching.request import Request
from resources.batch_store.evaluations import WINDOW, QueryWindow
from resources.core.errors import EvaluationError, QueryRefused
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder
from resources.embedders.packing import estimate_tokens
from resources.evaluation.judged import JudgedQuery
from resources.evaluation.rankings import Ranking
from resources.models.cutting import cut
from resources.vector_store.store import SOURCE_FIELD

TIMED, TIMED_PAID = 20, 5
"""Queries that are embedded one by one, to see how long that takes."""


class Questions:
    """Vectors of the queries in one space, as one embedder asks; kept beside the batches.

    Attributes:
        tokens: Of those that are still to be embedded, as estimated; `missing` how many.
        refused: Queries that have no vector, and why: they find nothing.
        seconds: That embedding one took.
    """

    def __init__(self, o: Opened, sample: Sample, space: EmbeddingSpace) -> None:
        self.o, self._sample, self.space = o, sample, space
        self._settings = o.embedder.query_settings()
        self.missing = self.tokens = 0
        self.refused: dict[str, str] = {}
        self.seconds: list[float] = []
        for window in sample.queries(WINDOW):
            absent = self._absent(window)
            self.missing += len(absent)
            self.tokens += sum(map(estimate_tokens, absent))

    @property
    def model(self) -> str:
        return self.o.embedder.facts().model

    @property
    def cost_usd(self) -> float | None:
        """Of those that are missing, as estimated."""
        return self.o.embedder.facts().cost_usd(self.tokens)

    def __str__(self) -> str:
        return f"about {self.tokens:,} tokens, {dollars(self.cost_usd)}"

    def _absent(self, window: Sequence[JudgedQuery]) -> list[str]:
        texts = list(dict.fromkeys(each.text for each in window))
        known = self.o.batches.queries.read(self.space, self._settings, texts)
        return [text for text in texts if text not in known]

    def embed(self, embedder: Embedder, log: Callable[[str], None]) -> None:
        """Embed those that are not known, and time some.

        Raises:
            ProviderError: It is out of reach, or refuses for the time being.
        """
        asking = QueryEmbedder(embedder)
        free = embedder.facts.usd_per_million == 0
        to_time = TIMED if free else TIMED_PAID
        progress = Progress(log, "queries embedded", self.missing)
        for window in self._sample.queries(WINDOW):
            absent = self._absent(window)
            if not absent:
                if free and not self.seconds:
                    asking.prepare()
                    for query in window[:TIMED]:
                        self._timed(asking, query.text)
                continue
            if not self.seconds:
                asking.prepare()
            alone = absent[: max(0, to_time - len(self.seconds))]
            made = [self._timed(asking, text) for text in alone]
            if rest := absent[len(alone) :]:
                made.append(asking.window(rest))
            self.o.batches.queries.write(self.space, self._settings, absent, _joined(made))
            progress.advance(len(absent))
        progress.finish()

    def _timed(self, asking: QueryEmbedder, text: str) -> QueryWindow:
        start = time.perf_counter()
        made = asking.window([text])
        self.seconds.append(time.perf_counter() - start)
        return made

    def vectors(self, window: Sequence[JudgedQuery]) -> list[np.ndarray | None]:
        """As the provider returned them; None for a query that has none."""
        known = self.o.batches.queries.read(
            self.space, self._settings, [each.text for each in window]
        )
        found: list[np.ndarray | None] = []
        for query in window:
            vector = known.get(query.text, "its vector cannot be read any more")
            if isinstance(vector, str):
                self.refused[query.id] = vector
                found.append(None)
            else:
                found.append(vector)
        return found


def _joined(windows: Sequence[QueryWindow]) -> QueryWindow:
    refused: dict[int, str] = {}
    start = 0
    for window in windows:
        refused |= {start + at: why for at, why in window.refused.items()}
        start += len(window.vectors)
    return QueryWindow(np.concatenate([window.vectors for window in windows]), refused)


def ask(
    served: Served,
    variant: Variant,
    window: Sequence[JudgedQuery],
    vectors: Iterable[np.ndarray | None],
    reranking: Reranking | None,
    seconds: list[float],
) -> list[Ranking]:
    """What each query finds, by the path of any other search.

    Args:
        served: The sample as the candidate has it in this variant.
        variant: The same.
        window: Queries.
        vectors: Theirs; None: it has none, and finds nothing.
        reranking: What reads the found texts again.
        seconds: Takes how long each search took.

    Raises:
        EvaluationError: A query cannot be asked.
    """
    request = Request(
        limit=DEPTH, num_candidates=CANDIDATES, mode=variant.mode, group_by_source=True
    )
    found = []
    for query, vector in zip(window, vectors, strict=True):
        if vector is None and variant.mode != "text":
            found.append(Ranking(query.id, [], []))
            continue
        asked = None if vector is None else cut(vector, served.space, variant.dimensions)
        mine = dataclasses.replace(request, filter=query.filter)
        start = time.perf_counter()
        try:
            answer = Finding.of(
                cast(Any, served),  # it has what a search asks of the state of an index
                Asked(query.text, asked if variant.mode != "text" else None),
                mine,
                reranking,
            )
        except QueryRefused as error:
            raise EvaluationError(
                f"the judged query {query.id} cannot be asked: {error}"
            ) from error
        seconds.append(time.perf_counter() - start)
        documents = served.documents([best.hit for best in answer.best])
        sources = [each[SOURCE_FIELD] for each in documents.values()]
        hits = [best.hit.score for best in answer.best]
        found.append(Ranking.of(query.id, list(zip(sources, hits, strict=True))))
    return found
