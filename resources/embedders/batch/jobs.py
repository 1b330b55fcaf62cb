"""What a batch lane needs of a provider, and of the place where its jobs are written down."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from resources.embedders.base import Refusal

DIGEST_BYTES = 16
SUBMITTING = "submitting"
FORGOTTEN_AFTER = timedelta(days=29)
"""Providers keep a job's files for about 30 days; without them there is nothing to collect."""


@dataclass(frozen=True)
class Job:
    """Texts that are submitted together.

    Attributes:
        name: The embedding batch; with a suffix if only some of its texts are in the job.
        space_id: Of the space that the vectors will be in.
        texts: The first 16 bytes of each text's SHA-256, row after row.
        submitted: Just before it was, in UTC; with the name it tells the job from all others.
        id: The provider's name of it; None until that is known.
        file: The provider's name of the uploaded requests.
        status: In the provider's words, once it is submitted.
    """

    name: str
    space_id: str
    texts: bytes
    submitted: datetime
    id: str | None = None
    file: str | None = None
    status: str = SUBMITTING

    @property
    def batch(self) -> str:
        return self.name.partition(".")[0]

    @property
    def size(self) -> int:
        return len(self.texts) // DIGEST_BYTES

    def digests(self) -> Iterator[bytes]:
        for start in range(0, len(self.texts), DIGEST_BYTES):
            yield self.texts[start : start + DIGEST_BYTES]


class Jobs(Protocol):
    """Where one pipeline's jobs are written down."""

    @property
    def pipeline(self) -> str: ...

    def find(self, space_id: str) -> list[Job]:
        """All whose vectors are not in the batch store yet."""
        ...

    def record(self, job: Job) -> None:
        """Write down a job, or what has become of it."""
        ...

    def remove(self, name: str) -> None: ...


@dataclass(frozen=True)
class State:
    """What a provider says of a job.

    Attributes:
        ended: Nothing more will come; what was finished can be had.
        crowded: Refused as a whole because too much is queued; it may be submitted again.
        reason: Why it did not end well.
        files: Where the results lie.
    """

    status: str
    ended: bool = False
    crowded: bool = False
    reason: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """The answer to one text: a vector, or why there is none.

    Attributes:
        refusal: The provider does not embed this text, though it does others.
        failure: It may the next time.
    """

    row: int
    vector: np.ndarray | None = None
    tokens: int = -1
    refusal: Refusal | None = None
    failure: str = ""


class BatchAPI(ABC):
    """A provider's batch jobs. Every method may raise `RequestFailed`."""

    max_texts: int
    max_bytes: int
    """Limits of one job."""

    @abstractmethod
    def line(self, custom_id: str, text: str) -> bytes:
        """One text as a request, named by `custom_id`, which ends in `-<row>`."""

    @abstractmethod
    def upload(self, name: str, data: bytes) -> str: ...

    @abstractmethod
    def create(self, file: str, labels: Mapping[str, str]) -> str:
        """Submit what was uploaded, once: a second try could submit it twice."""

    @abstractmethod
    def find(self, labels: Mapping[str, str], since: datetime) -> str | None:
        """The job with these labels, if there is one."""

    @abstractmethod
    def poll(self, job: str) -> State: ...

    @abstractmethod
    def results(self, state: State) -> Iterator[Line]:
        """What there is, in any order."""

    @abstractmethod
    def discard(self, file: str) -> None: ...

    @abstractmethod
    def close(self) -> None: ...
