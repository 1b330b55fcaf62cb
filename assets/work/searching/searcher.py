"""What answers many questions: model, client and index are loaded once."""

import asyncio
import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, Unpack

import numpy as np
from pymongo.errors import ConnectionFailure, PyMongoError

from assets.work.opened import Opened
from assets.work.searching.answer import SearchAnswer
from assets.work.searching.answering import answers_of
from assets.work.searching.choosing import SpaceAsked, asked, chosen
from assets.work.searching.embedders import Embedders
from assets.work.searching.finding import Asked, Finding, Reranking
from assets.work.searching.following import Follower
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
from assets.work.searching.serving import Serving
from assets.work.searching.state import State
from resources.batch_store.evaluations import QueryWindow
from resources.core.errors import QueryRefused
from resources.core.once import once
from resources.core.space import EmbeddingSpace
from resources.mongodb.deployment import explain
from resources.registry.pipeline_spaces import SpaceEntry
from resources.search_index.query import Mode

MAX_OTHERS = 2
"""Spaces that are asked by their ids, beside the one that serves: each may hold a model and an
index in memory."""

T = TypeVar("T")

Asking = str | Sequence[float] | np.ndarray | Question
"""A text, one vector in the index's space, as its provider returns it, or a text with its vector;
the filter is the search's."""


class Searcher:
    """Any number of threads may ask it.

    Every answer is of one space and one version of its index: of the space that serves, and the
    newest, which it notices within a second; or of the space that is asked for.

    Args:
        opened: The pipeline.
        stack: Closes what embeds the queries.
        follow: Look for new versions in a thread of its own.
        pinned: To the space that the pipeline is opened in, whichever one serves.
        given: Somebody has named the embedder for this: a space that it is not of is refused.
    """

    def __init__(
        self,
        opened: Opened,
        stack: ExitStack,
        *,
        follow: bool = True,
        pinned: bool = False,
        given: bool = False,
    ) -> None:
        self._opened, self._given = opened, given
        self._embedders = Embedders()
        stack.callback(self._embedders.close)
        self._opening = threading.RLock()
        self._counted: tuple[Serving, BareServing] | None = None
        self._others: OrderedDict[str, Follower] = OrderedDict()
        self._follower = Follower(
            opened, self._embedders, in_background=follow, pinned=pinned, given=given
        )

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

    def serving(self, space: str | None = None) -> Serving:
        """The index as it is now, with what it can be asked for.

        Args:
            space: Of another space than the one that serves: its id, or how it begins.

        Raises:
            EmbeddingsError: As `search`.
        """
        return self._asked_of(space, lambda state, _: state.serving)

    def spaces(self) -> list[SpaceAsked]:
        """Those that can be asked, the one that serves first.

        Raises:
            DeploymentError: The deployment is out of reach.
        """
        try:
            return asked(self._opened, self._follower.record())
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

        def answered(state: State, notes: Sequence[str]) -> list[SearchAnswer]:
            serving = state.serving
            mine = dataclasses.replace(request, filter=serving.store.placed(request.filter))
            reranking = self._reranking if mine.rerank else None
            asked = self._asked(queries, mine, state)
            findings = [Finding.of(serving, each, mine, reranking) for each in asked]
            return answers_of(serving, mine, findings, notes, start)

        space = request.space
        if space is None:  # a vector that says whose it is is asked there
            spaces = {getattr(query, "space", None) for query in queries}
            space = spaces.pop() if len(spaces) == 1 else None
            if spaces:
                raise QueryRefused("the queries are of several spaces: ask them one by one")
        return self._asked_of(space, answered, _found)

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
        reranking = self._reranking if rerank else None

        def found(state: State, notes: Sequence[str]) -> list[Found]:
            # A model reads the texts of what was found; who else only counts needs none.
            asked = state.serving if reranking else self._bare(state.serving)
            return rankings(asked, questions, request, reranking)

        return self._asked_of(None, found)

    async def asearch(self, query: Asking, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """As `search`, in a thread."""
        return await asyncio.to_thread(self.search, query, **options)

    async def asearch_many(
        self, queries: Sequence[Asking], **options: Unpack[SearchOptions]
    ) -> list[SearchAnswer]:
        """As `search_many`, in a thread."""
        return await asyncio.to_thread(self.search_many, queries, **options)

    def embed_queries(self, texts: Sequence[str], *, space: str | None = None) -> np.ndarray:
        """Vectors of texts as queries: of the space's element type, shape (texts, columns).

        Who keeps a vector says by `space` where it belongs, here and when it is asked: another
        space may serve by then.
        """
        return self._asked_of(space, lambda state, _: state.embedder.embed(texts))

    def query_window(self, texts: Sequence[str]) -> QueryWindow:
        """Vectors of texts as queries, with the reasons of those that will never have one.

        Raises:
            ProviderError: It is out of reach, or refuses for the time being.
        """
        return self._asked_of(None, lambda state, _: state.embedder.window(texts))

    def embed_documents(self, texts: Sequence[str], *, space: str | None = None) -> np.ndarray:
        """Vectors of texts as documents: of the space's element type, shape (texts, columns).

        Raises:
            ProviderError: It refuses a text.
        """
        return self._asked_of(space, lambda state, _: state.embedder.embed(texts, "document"))

    def prepare(self, space: str | None = None) -> None:
        """Load a model that lies on this machine, so that no question waits for it."""
        self._asked_of(space, lambda state, _: state.embedder.prepare())

    def close(self) -> None:
        self._follower.close()
        with self._opening:
            others = list(self._others.values())
            self._others.clear()
        for each in others:
            each.close()

    # --- one call

    def _asked_of(
        self,
        space: str | None,
        ask: Callable[[State, Sequence[str]], T],
        good: Callable[[T], bool] = lambda found: True,
    ) -> T:
        """What is answered in one state of one space.

        What it is asked in may go meanwhile: another space serves, and the one before is retired.
        So where that fails, or finds nothing, the question goes to what is there then.
        """
        try:
            with self._used(space) as (follower, state):
                try:
                    found = ask(state, follower.notes)
                    if good(found) or follower.look(anew=True) is state:
                        return found
                except ConnectionFailure:
                    raise
                except Exception:
                    if follower.look(anew=True) is state:
                        raise
            with self._used(space) as (follower, state):
                return ask(state, follower.notes)
        except PyMongoError as error:
            raise explain(error, self._opened.mongodb.describe()) from error

    @contextmanager
    def _used(self, space: str | None) -> Iterator[tuple[Follower, State]]:
        """A state of the space that serves, or of the one that is named."""
        entry = None if space is None else chosen(self._follower.record(), space)
        if entry is None or entry.space_id == self._follower.space_id:
            with self._follower.used() as state:
                if entry is None or state.serving.space.id == entry.space_id:
                    yield self._follower, state
                    return
        other = self._other(entry)
        with other.used() as state:
            yield other, state

    def _other(self, entry: SpaceEntry) -> Follower:
        """Of a space that is asked for by its id; the one that was asked longest ago goes."""
        with self._opening:
            found = self._others.get(entry.space_id)
            if found is None:
                found = self._others[entry.space_id] = Follower(
                    self._opened.in_space(entry),
                    self._embedders,
                    in_background=False,
                    pinned=True,
                    given=self._given,
                )
            self._others.move_to_end(entry.space_id)
            more = [self._others.popitem(last=False)[1]] if len(self._others) > MAX_OTHERS else []
        for each in more:
            each.close()
        return found

    @property
    def _queries(self) -> QueryEmbedder:
        return self._asked_of(None, lambda state, _: state.embedder)

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

    def _asked(self, queries: Sequence[Asking], request: Request, state: State) -> list[Asked]:
        """The questions with their vectors; refuses what cannot be answered before it embeds."""
        serving = state.serving
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
            found = state.embedder.embed(list(texts.values()))
            vectors = dict(zip(texts, found, strict=True))
        found = []
        for at, query in enumerate(queries):
            if isinstance(query, str):
                found.append(Asked(query, vectors[at]))
            elif isinstance(query, Question):
                found.append(Asked(query.text, query.vector))
            else:
                found.append(Asked("", _vector(query, serving.space)))
        return found


def _found(answers: Sequence[SearchAnswer]) -> bool:
    """Whether there is something, and the vectors that were found are still there."""
    lineages = [hit.lineage for answer in answers for hit in answer.hits]
    return bool(lineages) and all(len(each) > 1 for each in lineages)


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
