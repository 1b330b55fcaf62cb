"""What is told of a pipeline: a row of the overview."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from resources.registry.pipeline_spaces import State


@dataclass(frozen=True)
class IndexStatus:
    """An index against what is stored.

    Attributes:
        state: `ready` serves all that is stored; `stale` serves less, or what is no longer wanted;
            `none` serves nothing.
        engine: Which serves it; None where there is none.
        indexed: Vectors that searches find.
        stored: Vectors of its space at its path, whichever pipeline made them.
        counted: They were counted; else it is what the registry says.
        why: What is wrong, as one sentence; empty where nothing is.
    """

    state: Literal["ready", "stale", "none"]
    engine: str | None = None
    indexed: int = 0
    stored: int = 0
    counted: bool = True
    why: str = ""


@dataclass(frozen=True)
class SpaceStatus:
    """Another space of a pipeline than the one that serves.

    Attributes:
        path: Where its vectors lie, in the documents that hold those of the serving one.
        vectors: Stored when the run that worked on it last had ended; `bytes` of them.
        missing: Chunks that had no vector then, and stood in no quarantine.
        behind: Chunks of the serving space that it has no vector of, or one of another text; None
            where that cannot be counted.
        wanted: The settings ask for it; False where nobody knows.
    """

    space: str
    model: str | None
    state: State
    path: str
    vectors: int
    bytes: int
    chunks: int
    missing: int
    quarantined: int
    behind: int | None = None
    wanted: bool = False


@dataclass(frozen=True)
class LastRun:
    """Of a pipeline, as the Dagster instance has it."""

    id: str
    state: str
    started: datetime
    ended: datetime | None
    by: str


@dataclass(frozen=True)
class PipelineStatus:
    """One pipeline; None is what could not be found out.

    Attributes:
        pipeline: As commands call it.
        space: That searches are answered from.
        model: That made its vectors.
        path: Where its vectors lie.
        bytes: Of the vectors, without an index; None where their format is not known.
        vectors: Of the pipeline, in that space.
        quarantined: Entries of the pipeline in quarantine, for that space.
        last_run: The latest, whatever became of it; None where there was none.
        age_seconds: Since the end of the last run that succeeded.
        spent_usd: On embedding this month, in UTC, at list price; `reranked_usd` on reranking.
        asleep: Its embedded server is not running, which is no fault.
        others: Its other spaces, as their latest runs left them.
        notes: What is worth knowing, and no fault.
        wrong: What is; empty where all is well.
    """

    pipeline: str
    space: str | None = None
    model: str | None = None
    vectors: int | None = None
    quarantined: int | None = None
    index: IndexStatus | None = None
    last_run: LastRun | None = None
    age_seconds: float | None = None
    spent_usd: float | None = None
    reranked_usd: float | None = None
    asleep: bool = False
    path: str | None = None
    bytes: int | None = None
    others: Sequence[SpaceStatus] = field(default=())
    notes: Sequence[str] = field(default=())
    wrong: Sequence[str] = field(default=())
