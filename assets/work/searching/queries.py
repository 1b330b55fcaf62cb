"""Queries of many threads, embedded together."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

import numpy as np

from resources.batch_store.evaluations import QueryWindow
from resources.core.errors import ProviderError, QueryRefused
from resources.embedders.base import Embedder, InputType, RefusedQuery

MAX_TOGETHER = 64


@dataclass
class _Waiting:
    texts: Sequence[str]
    input_type: InputType
    result: Future[np.ndarray] = field(default_factory=Future)


class QueryEmbedder:
    """An embedder that any number of threads may ask.

    A local model takes one batch at a time; what arrives meanwhile goes into the next one,
    together. Remote providers are asked at once.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._turn = threading.Lock()
        self._waiting: deque[_Waiting] = deque()

    def embed(self, texts: Sequence[str], input_type: InputType = "query") -> np.ndarray:
        """Of the space's element type, shape (texts, columns).

        Raises:
            QueryRefused: The model makes nothing of a text.
            ProviderError: It is out of reach, or refuses.
        """
        if self._embedder.concurrent:
            return self._embedded(texts, input_type)
        mine = _Waiting(texts, input_type)
        self._waiting.append(mine)
        with self._turn:
            # Whoever has the turn answers for all who came before: in the end for itself.
            while not mine.result.done():
                self._answer(self._taken())
        return mine.result.result()

    def window(self, texts: Sequence[str]) -> QueryWindow:
        """Vectors of texts as queries, with the reasons of those that will never have one.

        Raises:
            ProviderError: It is out of reach, or refuses for the time being.
        """
        with nullcontext() if self._embedder.concurrent else self._turn:
            try:
                reply = self._embedder.embed(texts, input_type="query")
            except RefusedQuery as error:
                reply = error.reply
        refused = {}
        for row, refusal in reply.refused.items():
            if not refusal.lasting:
                raise ProviderError(f"the query {shortened(texts[row])} {refusal.reason}")
            refused[row] = refusal.reason
        for row in self._empty(reply.vectors):
            refused.setdefault(row, "has no token that the model knows")
        vectors = reply.vectors.copy()
        vectors[list(refused)] = 0  # what stands there means nothing
        return QueryWindow(vectors, refused)

    def prepare(self) -> None:
        """Load a model that lies on this machine; a remote one costs nothing before it is asked."""
        if not self._embedder.concurrent:
            with suppress(QueryRefused):  # it may make nothing of this text
                self.embed(["a"])

    def _taken(self) -> list[_Waiting]:
        """The first who waits, and who can be answered together with it."""
        taken = [self._waiting.popleft()]
        count = len(taken[0].texts)
        while self._waiting and self._waiting[0].input_type == taken[0].input_type:
            count += len(self._waiting[0].texts)
            if count > MAX_TOGETHER:
                break
            taken.append(self._waiting.popleft())
        return taken

    def _answer(self, taken: list[_Waiting]) -> None:
        texts = [text for each in taken for text in each.texts]
        try:
            vectors = self._embedded(texts, taken[0].input_type)
        except BaseException as error:
            if len(taken) == 1:
                taken[0].result.set_exception(error)
                return
            for each in taken:  # whose text it is shows when each goes alone
                self._answer([each])
            return
        start = 0
        for each in taken:
            each.result.set_result(vectors[start : start + len(each.texts)])
            start += len(each.texts)

    def _embedded(self, texts: Sequence[str], input_type: InputType) -> np.ndarray:
        reply = self._embedder.embed(texts, input_type=input_type)
        for row, refusal in reply.refused.items():
            raise ProviderError(f"the {input_type} {shortened(texts[row])} {refusal.reason}")
        for row in self._empty(reply.vectors):
            raise QueryRefused(
                f"{shortened(texts[row])} has no token that {self._embedder.space.model} "
                "knows: ask in other words"
            )
        return reply.vectors

    def _empty(self, vectors: np.ndarray) -> list[int]:
        if vectors.dtype != np.float32:
            return []
        return [int(row) for row in np.flatnonzero(~vectors.any(axis=1))]


def shortened(text: str, most: int = 80) -> str:
    return repr(text if len(text) <= most else f"{text[:most]}…")
