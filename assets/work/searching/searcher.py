"""What answers many questions: model, client and index are loaded once."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Unpack

import numpy as np
from pymongo.errors import PyMongoError

from assets.work.opened import Opened
from assets.work.searching.answer import SearchAnswer, SearchHit
from assets.work.searching.finding import Asked, Finding, Reranking
from assets.work.searching.passages import contexts
from assets.work.searching.queries import QueryEmbedder
from assets.work.searching.rankings import (
    CANDIDATES,
    DEPTH,
    BareServing,
    Found,
    Question,
    rankings,
)
from assets.work.searching.request import Request, SearchOptions
from assets.work.searching.serving import Follower, Serving
from resources.batch_store.evaluations import QueryWindow
from resources.core.errors import QueryRefused
from resources.core.keys import key
from resources.core.once import once
from resources.core.space import EmbeddingSpace
from resources.mongodb.deployment import explain
from resources.search_index.query import Mode
from resources.sources.fields import MISSING, lookup
from resources.vector_store.store import SOURCE_FIELD

Asking = str | Sequence[float] | np.ndarray | Question
"""A text, one vector in the index's space, as its provider returns it, or a text with its vector;
the filter is the search's."""


class Searcher:
    """Any number of threads may ask it.

    Every answer is of one version of the index: the newest, which it notices within a second.

    Args:
        opened: The pipeline.
        stack: Closes what embeds the queries.
        follow: Look for new versions in a thread of its own.
        pinned: To the space that the pipeline is opened in, whichever one serves.
    """

    def __init__(
        self, opened: Opened, stack: ExitStack, *, follow: bool = True, pinned: bool = False
    ) -> None:
        self._opened, self._stack = opened, stack
        self._embedders: dict[tuple[str, str], QueryEmbedder] = {}
        self._opening = threading.RLock()
        # Now, and not in one of the threads that ask.
        self._embedder_of(opened if pinned else opened.serving)
        self._counted: tuple[Serving, BareServing] | None = None
        self._follower = Follower(opened, in_background=follow, pinned=pinned)

    @property
    def name(self) -> str:
        """Of the pipeline."""
        return self._opened.name

    @property
    def space(self) -> EmbeddingSpace:
        """That queries are embedded in now.

        Raises:
            EmbeddingsError: As `search`.
        """
        return self.serving().space

    def serving(self) -> Serving:
        """The index as it is now, with what it can be asked for.

        Raises:
            EmbeddingsError: As `search`.
        """
        try:
            return self._follower.current()
        except PyMongoError as error:
            raise explain(error, self._opened.mongodb.describe()) from error

    def search(self, query: Asking, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """The documents nearest to a text, or to a vector.

        Args:
            query: A text, embedded as a query; or a vector in the index's space, as its provider
                returns it: shape (columns,).
            options: See `SearchOptions`.

        Raises:
            QueryRefused: The answer would be wrong: another space, an undeclared filter field, …
            EmbeddingsError: No index yet, no server, no key.
        """
        return self.search_many([query], **options)[0]

    def search_many(
        self, queries: Sequence[Asking], **options: Unpack[SearchOptions]
    ) -> list[SearchAnswer]:
        """As `search`, of several questions in their order: embedded as one batch, and answered by
        one version of the index.
        """
        start = time.monotonic()
        request = Request.of(options)
        try:
            serving = self._follower.current()
            placed = serving.store.placed(request.filter)
            if placed is not request.filter:
                request = dataclasses.replace(request, filter=placed)
            reranking = self._reranking if request.rerank else None
            asked = self._asked(queries, request, serving)
            findings = [Finding.of(serving, each, request, reranking) for each in asked]
            return self._answers(serving, request, findings, start)
        except PyMongoError as error:
            raise explain(error, self._opened.mongodb.describe()) from error

    def rankings(
        self,
        questions: Sequence[Question],
        *,
        depth: int = DEPTH,
        mode: Mode = "vector",
        rerank: bool = True,
        exact: bool = False,
        num_candidates: int = CANDIDATES,
    ) -> list[Found]:
        """Which source documents questions find, by the very path of a search.

        Args:
            questions: With their vectors, except where only words count; see `query_window`.
            depth: At most so many source documents of each.
            mode: As `SearchOptions`.
            rerank: Likewise.
            exact: Likewise.
            num_candidates: Likewise; at least the depth.

        Raises:
            QueryRefused: One cannot be answered; the message names it.
            EmbeddingsError: As `search`.
        """
        considered = None if exact else num_candidates
        request = Request(
            depth,
            exact=exact,
            num_candidates=considered,
            mode=mode,
            group_by_source=True,
            rerank=rerank,
        )
        try:
            serving, reranking = self._follower.current(), self._reranking if rerank else None
            # A model reads the texts of what was found; who else only counts needs none.
            asked = serving if reranking else self._bare(serving)
            return rankings(asked, questions, request, reranking)
        except PyMongoError as error:
            raise explain(error, self._opened.mongodb.describe()) from error

    async def asearch(self, query: Asking, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """As `search`, in a thread."""
        return await asyncio.to_thread(self.search, query, **options)

    async def asearch_many(
        self, queries: Sequence[Asking], **options: Unpack[SearchOptions]
    ) -> list[SearchAnswer]:
        """As `search_many`, in a thread."""
        return await asyncio.to_thread(self.search_many, queries, **options)

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts as queries: of the space's element type, shape (texts, columns)."""
        return self._queries.embed(texts)

    def query_window(self, texts: Sequence[str]) -> QueryWindow:
        """Vectors of texts as queries, with the reasons of those that will never have one.

        Raises:
            ProviderError: It is out of reach, or refuses for the time being.
        """
        return self._queries.window(texts)

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts as documents: of the space's element type, shape (texts, columns).

        Raises:
            ProviderError: It refuses a text.
        """
        return self._queries.embed(texts, "document")

    def prepare(self) -> None:
        """Load a model that lies on this machine, so that no question waits for it."""
        self._queries.prepare()

    def close(self) -> None:
        self._follower.close()

    # --- one call

    def _embedder_of(self, opened: Opened) -> QueryEmbedder:
        """What embeds queries in the space that a pipeline is opened in."""
        name = opened.space.id, opened.embedder.query_settings()
        with self._opening:
            if name not in self._embedders:
                embedder = self._stack.enter_context(opened.embedder.open())
                self._embedders[name] = QueryEmbedder(embedder)
            return self._embedders[name]

    @property
    def _queries(self) -> QueryEmbedder:
        return self._embedder_of(self.serving().opened)

    def _bare(self, serving: Serving) -> BareServing:
        """The same for as long as the index is: what it has asked for stays known."""
        with self._opening:
            if self._counted is None or self._counted[0] is not serving:
                self._counted = serving, BareServing.bare(serving)
            return self._counted[1]

    @property
    def _reranking(self) -> Reranking | None:
        with self._opening:
            return self._opened_reranking

    @once
    def _opened_reranking(self) -> Reranking | None:
        """Opened for the first question that wants it, and before that is paid for."""
        reranker = self._opened.open_reranker()
        if reranker is None:
            return None
        reranker.prepare()
        return Reranking(reranker, self._opened.reranker.candidates)

    def _asked(self, queries: Sequence[Asking], request: Request, serving: Serving) -> list[Asked]:
        """The questions with their vectors; refuses what cannot be answered before it embeds."""
        texts = {at: query for at, query in enumerate(queries) if isinstance(query, str)}
        worded = {at: each.text for at, each in enumerate(queries) if isinstance(each, Question)}
        if not all(text.strip() for text in [*texts.values(), *worded.values()]):
            raise QueryRefused("the query is empty: say what to look for")
        if len(texts) + len(worded) < len(queries) and request.mode != "vector":
            raise QueryRefused(
                f"a vector has no words for `mode: {request.mode}`: ask with a text, or by vector"
            )
        serving.index.check(request.query)
        if request.mode == "text":
            both = {**texts, **worded}
            return [Asked(both[at], None) for at in range(len(queries))]
        vectors: dict[int, np.ndarray] = {}
        if texts:
            embedder = self._embedder_of(serving.opened)
            vectors = dict(zip(texts, embedder.embed(list(texts.values())), strict=True))
        found = []
        for at, query in enumerate(queries):
            if isinstance(query, str):
                found.append(Asked(query, vectors[at]))
            elif isinstance(query, Question):
                found.append(Asked(query.text, query.vector))
            else:
                found.append(Asked("", _vector(query, serving.space)))
        return found

    def _answers(
        self, serving: Serving, request: Request, findings: Sequence[Finding], start: float
    ) -> list[SearchAnswer]:
        present = serving.documents([best.hit for found in findings for best in found.best])
        around = contexts(serving.store, present, request.expand) if request.expand else {}
        answers, notes = [], serving.notes()
        for found in findings:
            hits = [
                _hit(serving, best.hit, present[key(best.hit.id)], best.others, around)
                for best in found.best
                if key(best.hit.id) in present
            ]
            answers.append(
                SearchAnswer(
                    found.asked.shown,
                    hits,
                    serving.space,
                    serving.index.entry.engine,
                    serving.key,
                    0.0,
                    found.scored_by,
                    found.stage(),
                    "" if hits else found.why_empty(),
                    request.mode,
                    serving.index.entry.version,
                    (*found.notes, *notes),
                )
            )
        seconds = time.monotonic() - start
        return [dataclasses.replace(answer, seconds=seconds) for answer in answers]


def _vector(values: Any, space: EmbeddingSpace) -> np.ndarray:
    try:
        vector = np.asarray(values)
    except ValueError as error:
        raise QueryRefused(f"the query is neither a text nor a vector: {error}") from None
    if vector.dtype.kind not in "fiu" or vector.ndim != 1:
        raise QueryRefused(
            "the query is neither a text nor a vector of numbers: ask with one text, or one vector "
            f"of {space.width} values"
        )
    if len(vector) != space.width:
        raise QueryRefused(
            f"the query has {len(vector)} values, the vectors of {space.id} have {space.width}"
        )
    if space.element == "float32":
        return vector.astype(np.float32)
    return vector  # the index refuses another element type


def _hit(
    serving: Serving,
    hit: Any,
    document: Mapping[str, Any],
    others: int,
    around: Mapping[str, str],
) -> SearchHit:
    values = {name: lookup(document, at) for name, at in serving.shown.items()}
    lineage = serving.store.lineage(document) or {}
    if lineage.get("space") != serving.space.id:
        # Replaced since the index was built: of the vector that was compared only this is known.
        lineage = {"space": serving.space.id}
    return SearchHit(
        hit.id,
        hit.score,
        serving.store.text(document),
        {name: value for name, value in values.items() if value is not MISSING},
        lineage,
        document.get(SOURCE_FIELD, hit.id),
        hit.ranks,
        others,
        around.get(key(hit.id)),
    )
