"""Waiting for an index on the server, which may serve an older definition meanwhile."""

import time
from collections.abc import Callable

from pymongo.collection import Collection

from resources.core.errors import SearchIndexError
from resources.core.progress import EVERY_SECONDS, duration
from resources.search_index.mongodb.lifecycle import IndexState, find_index

SETTLED = 3
"""So many polls without a document more, and what is missing is not on its way."""
LINGERING = 5
"""Polls for which the failure of an index that was just corrected may still be listed."""


class IndexWait:
    """Waits for an index, saying in the log how far it is.

    Args:
        collection: Of the index.
        name: Of the index.
        documents: Of the collection; the server counts those in the index, with or without a
            vector.
        poll_seconds: How often the server is asked.
        timeout_seconds: For all that one object waits for.
        log: Where lines go.
    """

    def __init__(
        self,
        collection: Collection,
        name: str,
        *,
        documents: int,
        poll_seconds: float,
        timeout_seconds: float,
        log: Callable[[str], None],
    ) -> None:
        self._collection, self._name = collection, name
        self._documents, self._log = documents, log
        self._poll, self._timeout = poll_seconds, timeout_seconds
        self._start = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._said: tuple[float, str] | None = None

    def until_gone(self) -> None:
        """Until an index that is being deleted is no longer listed.

        Raises:
            SearchIndexError: It takes too long.
        """
        while state := find_index(self._collection, self._name):
            if state.status != "DELETING":
                return  # somebody created it anew
            self._say(state)
            self._pause(state)

    def until_serving(
        self, arrived: Callable[[IndexState], bool], *, was_failed: bool = False
    ) -> IndexState:
        """Until the definition last sent serves searches.

        Args:
            arrived: Whether the server lists that definition already.
            was_failed: The index had failed before it was corrected.

        Raises:
            SearchIndexError: It fails, is dropped meanwhile, or takes too long.
        """
        seen, polls = False, 0
        while True:
            state = find_index(self._collection, self._name)
            if (state is None or state.status == "DELETING") and seen:
                raise SearchIndexError(
                    f"the index {self._name} of {self._collection.full_name} was dropped while it "
                    "was being built: run again to create it"
                )
            here = state is not None and arrived(state)
            if state is not None:
                seen = True
                self._say(state)
                if here and state.status == "READY":
                    return state
                if here and state.status == "FAILED" and not (was_failed and polls < LINGERING):
                    raise SearchIndexError(self._failure(state))
                if here and state.status == "STALE" and self._left <= 0:
                    self._log(
                        f"warning: index {self._name} is still STALE (recovering) after "
                        f"{duration(self._timeout)}: it serves searches, but may lack the latest "
                        "changes"
                    )
                    return state
            self._pause(state)
            polls += 1

    def until_caught_up(self, state: IndexState) -> IndexState:
        """Until every document of the collection is indexed, or no more of them arrive."""
        still = 0
        while (
            state.indexed is not None
            and state.indexed < self._documents
            and still < SETTLED
            and self._left > 0
        ):
            self._say(state)
            time.sleep(min(self._poll, max(self._left, 0)))
            found = find_index(self._collection, self._name)
            if found is None:
                break
            still = still + 1 if found.indexed == state.indexed else 0
            state = found
        return state

    @property
    def _left(self) -> float:
        return self._start + self._timeout - time.monotonic()

    def _pause(self, state: IndexState | None) -> None:
        if self._left <= 0:
            raise SearchIndexError(self._late(state))
        time.sleep(min(self._poll, self._left))

    def _late(self, state: IndexState | None) -> str:
        status = state.status if state else "not listed yet"
        serves = "searches find nothing until then"
        if state and state.queryable:
            serves = "meanwhile the index serves searches as it was before"
        return (
            f"the index {self._name} of {self._collection.full_name} is {status} after "
            f"{duration(self._timeout)}; {serves}. Run again to go on waiting, or raise "
            "`timeout_seconds` of search_index"
        )

    def _failure(self, state: IndexState) -> str:
        serves = "; its earlier definition still serves searches" if state.queryable else ""
        return (
            f"the index {self._name} of {self._collection.full_name} has FAILED: "
            f"{state.message or 'the server gives no reason'}{serves}. Correct search_index, or "
            f"drop the index with `embeddings index drop PIPELINE --name {self._name}` and run "
            "again"
        )

    def _say(self, state: IndexState) -> None:
        now = time.monotonic()
        if state.indexed is not None and self._first is None:
            self._first = (now, state.indexed)
        if self._said and self._said[1] == state.status and now - self._said[0] < EVERY_SECONDS:
            return
        all_in = state.status == "READY" and (state.indexed or 0) >= self._documents
        if all_in and self._said is None:
            return  # nothing to wait for
        self._said = (now, state.status)
        line = f"index {self._name}: {state.status}"
        if state.indexed is not None:
            line += f", {state.indexed:,} of {self._documents:,} documents indexed"
        line += f", {duration(now - self._start)}"
        if self._first and state.indexed is not None and state.indexed < self._documents:
            since, before = self._first
            rate = (state.indexed - before) / max(now - since, 1e-9)
            if rate > 0:
                line += f", about {duration((self._documents - state.indexed) / rate)} left"
        self._log(line)
