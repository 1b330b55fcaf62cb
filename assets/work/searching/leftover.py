"""What is left of the space that serves while another replaces it at its path."""

import threading
import time

from assets.work.opened import Opened

COUNT_SECONDS = 2.0
"""It is counted no more often."""


class Leftover:
    """Counted again every now and then; any number of threads may ask.

    Args:
        opened: The pipeline, in the space that serves.
        by: Id of the space that replaces it.
        engine: Which answers: `local` from what it has built before, `mongodb` from what is left.
    """

    def __init__(self, opened: Opened, by: str, engine: str) -> None:
        self._store, self._space_id, self._by = opened.store, opened.space.id, by
        self._local = engine == "local"
        self._lock = threading.Lock()
        self._counted = float("-inf")
        self._note = ""

    @classmethod
    def of(cls, opened: Opened, engine: str) -> "Leftover | None":
        """None where nothing replaces the vectors of this space."""
        by = opened.replacing
        return cls(opened, by, engine) if by else None

    def note(self) -> str:
        """As one sentence; empty where nothing is replaced yet."""
        with self._lock:
            if time.monotonic() - self._counted > COUNT_SECONDS:
                self._note, self._counted = self._said(), time.monotonic()
            return self._note

    def _said(self) -> str:
        total, left = self._store.count(), self._store.count_mine(self._space_id)
        if left >= total:
            return ""
        known = "the index as it was before" if self._local else "those alone"
        return (
            f"{left:,} of {total:,} vectors are left in the space {self._space_id} while "
            f"{self._by} replaces it: this answer is of {known}"
        )
