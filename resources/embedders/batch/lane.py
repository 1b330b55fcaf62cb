"""Documents as batch jobs: cheaper, answered within a day, lost by no run that dies meanwhile.

A job is written down before it exists at the provider, and forgotten once its vectors lie in the
batch store; in between, any run can go on with it. Texts are matched with jobs one by one, by
hash: the borders of embedding batches may fall elsewhere in the next run.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from resources.core.errors import ProviderError
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embeddings
from resources.embedders.batch.jobs import (
    DIGEST_BYTES,
    FORGOTTEN_AFTER,
    SUBMITTING,
    BatchAPI,
    Job,
    Jobs,
)
from resources.embedders.batch.replies import Flight, Order, assemble
from resources.embedders.failures import RequestFailed

K = TypeVar("K")

_LONGEST_PAUSE = 16.0


class BatchLane:
    """Submits, waits for and collects jobs; used for one run.

    Args:
        check: Raises ProviderError if the settings are such that every text is refused.
        cut: Gives the positions of texts of which the model sees only the beginning, or may.
        log: Where progress is told.
    """

    def __init__(
        self,
        api: BatchAPI,
        jobs: Jobs,
        space: EmbeddingSpace,
        *,
        poll_seconds: float,
        wait_seconds: float,
        attempts: int,
        max_failures: int,
        check: Callable[[], Any],
        cut: Callable[[Sequence[str]], frozenset[int]],
        log: Callable[[str], None],
    ) -> None:
        self._api, self._jobs, self._space = api, jobs, space
        self._poll_seconds, self._wait_seconds = poll_seconds, wait_seconds
        self._attempts, self._max_failures = attempts, max_failures
        self._check, self._cut, self._log = check, cut, log
        self._claims: dict[bytes, tuple[Flight, int]] = {}
        self._orders: dict[Any, Order] = {}
        self._submitted = 0
        self._full = False
        self._unanswered = 0
        self._reason = ""

    def embed_batches(
        self, batches: Iterable[tuple[K, Sequence[str]]]
    ) -> Iterator[tuple[K, Embeddings]]:
        """As `Embedder.embed_batches`; all batches are submitted before the first comes back."""
        try:
            self._recover()
            for key, texts in batches:
                self._orders[key] = self._order(key, texts)
            self._claims.clear()
            yield from self._replies()
        except RequestFailed as failure:
            raise self._error(
                f"{failure}; batch jobs under way go on, and any later run collects them",
                passing=failure.kind in ("transient", "throttled"),
            ) from failure

    def written(self, key: Any) -> None:
        """Forget jobs all of whose vectors lie in the batch store now."""
        order = self._orders.pop(key, None)
        for flight in order.shares if order else ():
            flight.batches.discard(key)
            # Rows that this run did not want were paid for as well: a later run may.
            if not flight.batches and (flight.lost or flight.claimed >= flight.job.size):
                self._jobs.remove(flight.job.name)

    def close(self) -> None:
        self._api.close()

    # --- submitting

    def _recover(self) -> None:
        """Take over jobs of earlier runs, also one that was not written down in full."""
        for job in self._jobs.find(self._space.id):
            if job.submitted < datetime.now(UTC) - FORGOTTEN_AFTER:
                self._jobs.remove(job.name)
                continue
            flight = Flight(job)
            if job.id is None:
                found = self._api.find(self._labels(job), job.submitted)
                if found is None:
                    if job.file is not None:
                        self._api.discard(job.file)
                    self._jobs.remove(job.name)
                    continue
                self._update(flight, id=found, status="submitted")
            self._claims |= {text: (flight, row) for row, text in enumerate(job.digests())}

    def _order(self, key: Any, texts: Sequence[str]) -> Order:
        """Find the job of every text; those that have none become a new one."""
        digests = [hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES] for text in texts]
        pairs: dict[Flight, list[tuple[int, int]]] = {}
        fresh: list[int] = []
        for position, text in enumerate(digests):
            if text in self._claims:
                flight, row = self._claims[text]
                pairs.setdefault(flight, []).append((row, position))
            else:
                fresh.append(position)
        for piece, lines in self._pieces(key, texts, fresh):
            held = b"".join(digests[position] for position in piece)
            suffix = "" if len(piece) == len(texts) else f".{hashlib.sha256(held).hexdigest()[:8]}"
            flight = Flight(Job(f"{key}{suffix}", self._space.id, held, datetime.now(UTC)))
            self._submit(flight, lines)
            pairs[flight] = list(enumerate(piece))
        for flight, of_job in pairs.items():
            flight.batches.add(key)
            flight.claimed += len(of_job)
        shares = {flight: np.array(rows, np.int32) for flight, rows in pairs.items()}
        return Order(len(texts), shares, self._cut(texts))

    def _pieces(
        self, key: Any, texts: Sequence[str], positions: Sequence[int]
    ) -> Iterator[tuple[list[int], list[bytes]]]:
        """Positions and request lines, within the limits of one job."""
        piece: list[int] = []
        lines: list[bytes] = []
        size = 0
        for position in positions:
            line = self._api.line(f"{key}-{len(lines)}", texts[position])
            full = len(lines) == self._api.max_texts or size + len(line) > self._api.max_bytes
            if lines and full:
                yield piece, lines
                piece, lines, size = [], [], 0
                line = self._api.line(f"{key}-0", texts[position])
            piece.append(position)
            lines.append(line)
            size += len(line)
        if lines:
            yield piece, lines

    def _submit(self, flight: Flight, lines: list[bytes]) -> None:
        self._update(flight)
        self._update(flight, file=self._api.upload(f"{flight.job.name}.jsonl", b"".join(lines)))
        if not self._full:  # else it waits for its turn
            self._create(flight)
        self._submitted += 1

    def _create(self, flight: Flight) -> None:
        """Start the job; where the answer is lost, look whether it exists before trying again.

        One that is refused because there are too many keeps its place among those that wait.
        """
        found = None
        if flight.asked_for:
            found = self._api.find(self._labels(flight.job), flight.job.submitted)
        if found is None:
            self._update(flight, id=None, status=SUBMITTING, submitted=datetime.now(UTC))
        labels, since = self._labels(flight.job), flight.job.submitted
        assert flight.job.file is not None
        tries = 0
        while found is None:
            try:
                flight.asked_for = True
                found = self._api.create(flight.job.file, labels)
            except RequestFailed as failure:
                tries += 1
                full = failure.kind == "throttled"
                if full and (self._full or tries >= self._attempts):
                    self._full, flight.asked_for = True, tries > 1
                    return
                if not (full or failure.kind == "transient") or tries >= self._attempts:
                    raise
                time.sleep(failure.retry_after or min(_LONGEST_PAUSE, 0.25 * 2**tries))
                found = self._api.find(labels, since)
        flight.asked_for = self._full = False
        self._update(flight, id=found, status="submitted")

    def _labels(self, job: Job) -> dict[str, str]:
        """What tells the job from all others of the account, earlier tries included."""
        return {
            "embedding_batch": job.name,
            "pipeline": self._jobs.pipeline,
            "space": job.space_id,
            # MongoDB keeps milliseconds.
            "submitted_at": job.submitted.isoformat(timespec="milliseconds"),
        }

    def _update(self, flight: Flight, **changes: Any) -> None:
        flight.job = replace(flight.job, **changes)
        self._jobs.record(flight.job)

    # --- collecting

    def _replies(self) -> Iterator[tuple[Any, Embeddings]]:
        waiting = dict(self._orders)
        running = list({flight: None for order in waiting.values() for flight in order.shares})
        total, finished, failures = len(running), 0, 0
        if total:
            resumed = total - self._submitted
            self._log(
                f"batch jobs: {self._submitted:,} submitted, {resumed:,} taken over from earlier "
                f"runs; {self._space.provider} does not say when they finish"
            )
        deadline = time.monotonic() + self._wait_seconds
        while waiting:
            try:
                self._sweep(running)
                failures = 0
            except RequestFailed as failure:
                failures += 1
                hopeless = failure.kind not in ("throttled", "transient")
                if hopeless or failures >= self._max_failures:
                    raise
                self._log(f"{failure}; asking again")
            running = [flight for flight in running if flight.state is None]
            if total - len(running) > finished:
                finished = total - len(running)
                self._log(f"{finished:,} of {total:,} batch jobs finished")
            for key in [key for key, order in waiting.items() if order.ended]:
                reply = self._reply(waiting.pop(key))
                if reply is None:
                    self.written(key)  # there is nothing to write
                else:
                    yield key, reply
            left = deadline - time.monotonic()
            if not running or left <= 0:
                break
            time.sleep(min(self._poll_seconds, left))
        complaints = []
        if running:
            complaints.append(
                f"{len(running):,} of {total:,} batch jobs are still running after "
                f"{self._wait_seconds:g} seconds: any later run collects them, nothing is lost"
            )
        if self._unanswered:
            complaints.append(
                f"texts without a vector yet: {self._unanswered:,} ({self._reason}); the next run "
                "submits them again"
            )
        if complaints:
            raise self._error("; ".join(complaints))

    def _sweep(self, running: list[Flight]) -> None:
        """Ask after every job once."""
        crowded, ended = [], 0
        for flight in running:
            if flight.job.id is None:
                crowded.append(flight)
                continue
            state = self._api.poll(flight.job.id)
            if state.status != flight.job.status:
                self._update(flight, status=state.status)
            if state.crowded:
                crowded.append(flight)
            elif state.ended:
                flight.state = state
                ended += 1
        if crowded:
            self._log(f"batch jobs that wait for room in the provider's queue: {len(crowded):,}")
        # As many as have made room; a job too many is only refused again.
        for flight in crowded[: max(1, ended)]:
            self._create(flight)
            if self._full:
                break

    def _reply(self, order: Order) -> Embeddings | None:
        """What the jobs of a batch came to; None if not a single text has an answer."""
        reply, reasons = assemble(order, self._api, self._space, self._check)
        for flight, pairs in order.shares.items():
            if not reply.unfinished.isdisjoint(pairs[:, 1].tolist()):
                flight.lost = True
                status = flight.state.status if flight.state else ""
                why = reasons[flight] or "it says nothing of them"
                self._reason = self._reason or f"job {flight.job.id} {status}: {why}".rstrip(".")
        self._unanswered += len(reply.unfinished)
        nothing = reply.unfinished and len(reply.unfinished) == order.size
        return None if nothing else reply

    def _error(self, reason: str, *, passing: bool = False) -> ProviderError:
        name = f"{self._space.provider} model {self._space.model}"
        return ProviderError(f"{name}: {reason}", passing=passing)
