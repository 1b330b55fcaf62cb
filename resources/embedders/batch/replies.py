"""The reply for one embedding batch, from the results of the jobs that hold its texts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resources.core.errors import ProviderError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import NUMPY_TYPES
from resources.embedders.base import Embeddings, Refusal, Usage, check_reply
from resources.embedders.batch.jobs import BatchAPI, Job, State


@dataclass(eq=False)
class Flight:
    """A job of this run.

    Attributes:
        state: How it ended.
        batches: Those it serves that are not written yet.
        claimed: Rows that this run wants of it.
        lost: Some of those have no answer: the job is of no more use to them.
        asked_for: The provider may have it without our knowing: the answer was lost.
    """

    job: Job
    state: State | None = None
    batches: set[Any] = field(default_factory=set)
    claimed: int = 0
    lost: bool = False
    asked_for: bool = False


@dataclass(frozen=True)
class Order:
    """A batch that is waited for.

    Attributes:
        shares: Per job, which of its rows belong to which positions.
        cut: Positions of texts of which the model sees only the beginning, or may.
    """

    size: int
    shares: dict[Flight, np.ndarray]
    cut: frozenset[int] = frozenset()

    @property
    def ended(self) -> bool:
        return all(flight.state is not None for flight in self.shares)


def assemble(
    order: Order, api: BatchAPI, space: EmbeddingSpace, check: Callable[[], Any]
) -> tuple[Embeddings, dict[Flight, str]]:
    """What the jobs of a batch came to, and for each job why it came to no more.

    Texts without an answer are unfinished. If all are refused, `check` tells whether the settings
    are at fault, by raising ProviderError; then none counts as refused.
    """
    vectors = np.zeros((order.size, space.width), NUMPY_TYPES[space.element])
    tokens = np.full(order.size, -1, np.int32)
    finished: set[int] = set()
    refused: dict[int, Refusal] = {}
    damaged: dict[int, str] = {}
    reasons: dict[Flight, str] = {}
    for flight, pairs in order.shares.items():
        positions: dict[int, int] = dict(pairs.tolist())
        assert flight.state is not None
        reasons[flight] = flight.state.reason
        for line in api.results(flight.state):
            position = positions.get(line.row)
            if position is None:
                continue
            if line.refusal is not None:
                refused[position] = line.refusal
            elif line.vector is None:
                reasons[flight] = reasons[flight] or line.failure
            else:
                try:
                    vectors[position] = check_reply(line.vector[None], 1, space)[0]
                except ProviderError as error:
                    reasons[flight] = reasons[flight] or str(error)
                    damaged[position] = str(error).removesuffix("; nothing is stored")
                    continue
                tokens[position] = line.tokens
                finished.add(position)
    if finished:
        # Others came out well: it is the text. Else every vector may be wrong, by a setting.
        refused |= {at: Refusal(reason, lasting=False) for at, reason in damaged.items()}
    if refused and not finished:
        try:
            check()
        except ProviderError as error:
            refused.clear()
            reasons = dict.fromkeys(reasons, str(error))
    unfinished = frozenset(range(order.size)) - finished - set(refused)
    known = tokens[tokens >= 0]
    usage = Usage(
        requests=len(finished) + len(refused),
        tokens=int(known.sum()) if len(known) else None,
    )
    return Embeddings(vectors, tokens, usage, refused, unfinished, order.cut), reasons
