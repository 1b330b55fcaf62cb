"""Clients that ask a pipeline without a pause, and what they must have been answered."""

import itertools
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.operations.search import Searcher

NEAREST = 5
PATIENCE = 120.0
"""Seconds until whoever waits for an answer gives up: far more than any takes."""


@dataclass(frozen=True)
class Answer:
    """What a client was told.

    Attributes:
        space: That the answer says it is of.
        made_in: Of the vectors that were found, as their lineage says.
        found: Ids with scores, best first.
    """

    query: str
    space: str
    made_in: frozenset[str]
    found: tuple[tuple[Any, float], ...]


def by_searcher(searcher: Searcher) -> Callable[[str], Answer]:
    def ask(query: str) -> Answer:
        answer = searcher.search(query, limit=NEAREST)
        found = tuple((hit.id, hit.score) for hit in answer.hits)
        made_in = frozenset(hit.lineage["space"] for hit in answer.hits)
        return Answer(query, answer.space.id, made_in, found)

    return ask


def over_http(url: str, pipeline: str) -> Callable[[str], Answer]:
    # Not through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(query: str) -> Answer:
        body = json.dumps({"pipeline": pipeline, "query": query, "limit": NEAREST}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/search", body, headers)
        with opener.open(request, timeout=PATIENCE) as reply:
            (answer,) = json.load(reply)["answers"]
        found = tuple((hit["id"], hit["score"]) for hit in answer["hits"])
        made_in = frozenset(hit["lineage"]["space"] for hit in answer["hits"])
        return Answer(query, answer["space"], made_in, found)

    return ask


class Client:
    """Asks the same questions in turn, in a thread of its own, until it is told to stop."""

    def __init__(
        self, name: str, ask: Callable[[str], Answer], queries: Sequence[str], pause: float = 0.0
    ) -> None:
        self.name, self.answers = name, list[Answer]()
        self.error: Exception | None = None
        self._ask, self._queries, self._pause = ask, queries, pause
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._told.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"{self.name} hangs"

    @property
    def spaces(self) -> list[str]:
        """That it was answered from, one after the other."""
        return [space for space, _ in itertools.groupby(each.space for each in self.answers)]

    def wait_for(self, what: str, seen: Callable[["Client"], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not seen(self):
            assert self.error is None, f"{self.name}: {self.error!r}"
            assert time.monotonic() < until, f"{self.name} waits in vain for {what}"
            time.sleep(0.01)

    def wait_for_more(self, count: int) -> None:
        wanted = len(self.answers) + count
        self.wait_for(f"{count} more answers", lambda me: len(me.answers) >= wanted)

    def _go_on(self) -> None:
        for query in itertools.cycle(self._queries):
            if self._told.wait(self._pause):
                return
            try:
                self.answers.append(self._ask(query))
            except Exception as error:  # whatever it is, there was to be none
                self.error = error
                return


@contextmanager
def asking(*clients: Client) -> Iterator[Sequence[Client]]:
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()


class Truth:
    """What is nearest to the queries in every space, worked out from the models alone.

    Args:
        queries: All that may be asked.
        corpora: The texts by id, in each state that they were in.
    """

    def __init__(self, queries: Sequence[str], corpora: Sequence[Mapping[Any, str]]) -> None:
        self._queries, self._corpora = list(queries), corpora
        self._of_space: dict[str, dict[str, list[list[tuple[Any, float]]]]] = {}

    def learn(self, space: str, model: str) -> None:
        """Of a space, whose vectors a model in a folder makes."""
        from sentence_transformers import SentenceTransformer

        encode = SentenceTransformer(model, device="cpu").encode
        asked = _unit(encode(self._queries, show_progress_bar=False))
        found: dict[str, list[list[tuple[Any, float]]]] = {query: [] for query in self._queries}
        for corpus in self._corpora:
            vectors = _unit(encode(list(corpus.values()), show_progress_bar=False))
            for query, scores in zip(self._queries, (1 + asked @ vectors.T) / 2, strict=True):
                best = np.argsort(-scores, kind="stable")[:NEAREST]
                ids = list(corpus)
                found[query].append([(ids[at], float(scores[at])) for at in best])
        self._of_space[space] = found

    def check(self, answer: Answer) -> None:
        """It is of one space, and the vectors of that space alone explain it."""
        assert answer.made_in == {answer.space}, answer
        assert answer.space in self._of_space, answer
        allowed = self._of_space[answer.space][answer.query]
        assert any(_same(answer.found, each) for each in allowed), (answer, allowed)

    def of(self, space: str, version: int, query: str) -> list[Any]:
        """Ids, the nearest first, in one state of the texts."""
        return [each[0] for each in self._of_space[space][query][version]]

    def differ(self) -> bool:
        """Whether no two spaces give one query the same answer: else it would prove nothing."""
        every = list(self._of_space.values())
        return all(
            not _same(mine, theirs)
            for one, other in itertools.combinations(every, 2)
            for query in self._queries
            for mine in one[query]
            for theirs in other[query]
        )


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def _same(found: Sequence[tuple[Any, float]], wanted: Sequence[tuple[Any, float]]) -> bool:
    return len(found) == len(wanted) and all(
        mine[0] == theirs[0] and abs(mine[1] - theirs[1]) < 1e-5
        for mine, theirs in zip(found, wanted, strict=True)
    )
