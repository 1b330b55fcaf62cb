"""What a search goes by at all times: the newest state of an index, in the space that serves.

A question is answered in the state that it began in, and that stays open for as long. Another space
is made ready first, its model loaded and its index asked once, while the one before answers on; one
that cannot be asked from here is tried again later, and answers say so meanwhile.
"""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from pymongo.errors import PyMongoError

from assets.work.opened import Opened
from assets.work.searching.choosing import check_given, how_far, retired
from assets.work.searching.embedders import Embedders
from assets.work.searching.queries import QueryEmbedder
from assets.work.searching.state import Seen, State, identity_of, index_at, made, prove
from resources.core.errors import EmbeddingsError, QueryRefused
from resources.mongodb.deployment import explain
from resources.registry.pipeline_spaces import PipelineRecord

LOOK_SECONDS = 0.5
"""So often the registry is asked which space serves, and for a newer version of its index."""
STALE_SECONDS = 1.0
"""A search does not go by what was looked up longer ago."""
AGAIN_SECONDS = 5.0
"""After that a space that could not be asked is tried once more."""


@dataclass
class _Unable:
    """A space that serves and cannot be asked from here."""

    identity: tuple[object, ...]
    note: str
    at: float = field(default_factory=time.monotonic)


class Follower:
    """The newest state of an index, however long it is held.

    Args:
        opened: The pipeline as its settings have it; it stays open for as long as this is used.
        embedders: Those of the searcher.
        in_background: Look, and make another space ready, in a thread of its own, so that no
            search waits for it.
        pinned: Stay in the space that the pipeline is opened in, whichever serves.
        given: Somebody has named the embedder for this search: it must be that of the space.

    Raises:
        EmbeddingsError: What embeds the queries cannot be opened.
    """

    def __init__(
        self,
        opened: Opened,
        embedders: Embedders,
        *,
        in_background: bool,
        pinned: bool = False,
        given: bool = False,
    ) -> None:
        self._opened, self._embedders, self._pinned = opened, embedders, pinned
        self._given, self._begun = given, False
        # Opened now, and not in one of the threads that ask; the first state takes it over.
        self._early = ExitStack()
        if not given:
            self._early.enter_context(embedders.held(opened if pinned else opened.serving))
        self._looking, self._using = threading.Lock(), threading.Lock()
        self._preparing = threading.Lock()
        self._state: State | None = None
        self._unable: _Unable | None = None
        self._record: PipelineRecord | None = None
        self._looked = float("-inf")
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if in_background:
            name = f"searcher-{opened.name}"
            self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
            self._thread.start()

    @contextmanager
    def used(self) -> Iterator[State]:
        """The newest, seen no longer than `STALE_SECONDS` ago; it stays open until it is left.

        Raises:
            QueryRefused: As `Serving.of`, or the space is retired.
            SearchIndexError: There is no index that can be read.
            DeploymentError: The deployment is out of reach.
        """
        state = self._taken()
        try:
            yield state
        finally:
            self._let_go(state)

    def look(self, *, anew: bool = False) -> State | None:
        """Look whether there is something newer; `anew` however short ago that was done.

        Returns:
            The newest.

        Raises:
            EmbeddingsError: As `used`.
        """
        with self._looking:
            short = time.monotonic() - self._looked < LOOK_SECONDS
            if short and self._state is not None and not anew:
                return self._state  # another thread just looked
            begun = time.monotonic()
            another = self._compared()
            self._looked = begun
        if another is not None:
            self._make_ready(another)
        return self._state

    def record(self) -> PipelineRecord:
        """The pipeline's spaces, seen no longer than `STALE_SECONDS` ago."""
        if self._record is None or time.monotonic() - self._looked > STALE_SECONDS:
            return self._opened.again().record
        return self._record

    @property
    def space_id(self) -> str | None:
        """Of the space that questions are answered in now; None before the first."""
        state = self._state
        return state.serving.space.id if state else None

    @property
    def notes(self) -> list[str]:
        """What a person should know about answers, as sentences."""
        found, record, state = [], self._record, self._state
        if record is None or state is None:
            return found
        space_id = state.serving.space.id
        entry = record.entry(space_id)
        far = how_far(record, entry) if self._pinned and entry is not None else ""
        if far:
            serves = f"; {record.serving} serves" if record.serving else ""
            found.append(f"the space {space_id} is not complete: {far}{serves}")
        if self._unable is not None:
            found.append(self._unable.note)
        return found

    def close(self) -> None:
        self._closed.set()
        with self._using:
            state, self._state = self._state, None
        if state is not None:
            self._let_go(state)
        self._early.close()

    # --- what is asked

    def _taken(self) -> State:
        while True:
            if self._state is None or time.monotonic() - self._looked >= STALE_SECONDS:
                self.look()
            with self._using:
                if (state := self._state) is not None:
                    state.users += 1
                    return state
                if self._closed.is_set():
                    raise QueryRefused(f"the searcher of {self._opened.name} is closed")

    def _let_go(self, state: State) -> None:
        with self._using:
            state.users -= 1
            unused = not state.users
        if unused:
            state.stack.close()

    def _become(self, state: State | None) -> None:
        with self._using:
            if state is not None and self._closed.is_set():
                before = state
            else:
                before, self._state = self._state, state
        if state is not None:
            self._begun = True
            self._early.close()
        if before is not None:
            self._let_go(before)

    # --- what the registry says

    def _compared(self) -> Opened | None:
        """Bring the state up to date in its space; else the space to go over to."""
        opened = self._opened.again()
        self._record = record = opened.record
        seen, state = self._seen(opened, record), self._state
        if state is not None and seen.identity == state.seen.identity:
            self._unable = None
            return None
        if state is not None and self._stays(opened, record, seen, state):
            try:
                return self._target(opened, record, seen)
            except EmbeddingsError as error:
                self._unable = _Unable(seen.identity, self._why_not(seen, error))
                return None
        self._unable = None
        try:
            target = self._target(opened, record, seen)
            embedder = self._held(target)
        finally:
            # What is refused now must not be answered from before; nor are two versions of an
            # index held longer than they are asked.
            self._become(None)
        self._become(made(target, seen, *embedder))
        return None

    def _seen(self, opened: Opened, record: PipelineRecord) -> Seen:
        if self._pinned:
            entry = record.entry(opened.space.id)
            if entry is not None and entry.retired:
                self._become(None)
                raise retired(record, entry.space_id)
            others = tuple(record.others_at(entry)) if entry else ()
            return Seen(opened.place, index_at(opened, opened.place), others=others)
        entry = record.entry(record.serving)
        if entry is None:  # the first one is going to be here
            return Seen("", index_at(opened, ""))
        others = tuple(record.others_at(entry))
        return Seen(entry.place, index_at(opened, entry.place), entry.embedder, others)

    def _target(self, opened: Opened, record: PipelineRecord, seen: Seen) -> Opened:
        """In the space that is in the index: where vectors are replaced, that is known first."""
        if self._pinned:
            entry = record.entry(opened.space.id)
            if seen.index is None and entry is not None:
                raise QueryRefused(
                    f"the space {entry.space_id} of {opened.name} is being built and has no index "
                    f"yet: ask it when it has, or leave the space out"
                )
            target = opened
        else:
            entry = record.entry(seen.index.space_id) if seen.index else None
            if entry is not None and (entry.place != seen.place or entry.retired):
                entry = None
            target = opened.in_space(entry) if entry else opened.serving
        # Later it may be promoted over: whoever has asked until then is answered on.
        if self._given and not self._begun and entry is not None:
            check_given(opened.settings, record, entry)
        return target

    def _stays(self, opened: Opened, record: PipelineRecord, seen: Seen, state: State) -> bool:
        """Whether a state can be asked until the one that is to follow it is ready."""
        if seen.place == state.seen.place:
            return False
        entry = record.entry(state.serving.space.id)
        if entry is None or entry.retired or entry.place != state.seen.place:
            return False
        index, before = index_at(opened, state.seen.place), state.seen.index
        if index is None or before is None or index.space_id != before.space_id:
            return False
        if identity_of(index) != identity_of(before):
            now = dataclasses.replace(state.seen, index=index)
            at = opened.in_space(entry)
            self._become(made(at, now, *self._held(at)))
        return True

    # --- another space

    def _make_ready(self, target: Opened) -> None:
        """Go over to another space, once it can be asked; the one before answers until then."""
        if self._thread not in (None, threading.current_thread()):
            return  # it sees for itself
        if not self._preparing.acquire(blocking=False):
            return  # another thread is at it
        try:
            self._go_over(target)
        finally:
            self._preparing.release()

    def _go_over(self, target: Opened) -> None:
        seen = self._seen(target.settings, target.settings.record)
        unable = self._unable
        again = unable is None or time.monotonic() - unable.at > AGAIN_SECONDS
        if unable is not None and unable.identity == seen.identity and not again:
            return
        try:
            state = made(target, seen, *self._held(target))
            try:
                prove(state)
            except BaseException:
                self._let_go(state)
                raise
        except Exception as error:  # whatever it is: there is one that can be asked
            self._unable = _Unable(seen.identity, self._why_not(seen, error))
            return
        with self._looking:
            # Others may have changed it meanwhile: what is true now counts.
            opened = self._opened.again()
            record = opened.record
            if self._seen(opened, record).identity == seen.identity:
                self._record, self._unable = record, None
                self._become(state)
                return
        self._let_go(state)

    def _why_not(self, seen: Seen, error: Exception) -> str:
        if isinstance(error, PyMongoError):
            error = explain(error, self._opened.mongodb.describe())
        why = str(error) if isinstance(error, EmbeddingsError) else f"{type(error).__name__}"
        state = self._state
        before = f"; this is answered in {state.serving.space.id}" if state else ""
        space_id = seen.index.space_id if seen.index else "that is wanted"
        return f"the space {space_id} serves, and cannot be asked from here: {why}{before}"

    def _held(self, opened: Opened) -> tuple[QueryEmbedder, ExitStack]:
        with ExitStack() as stack:
            return stack.enter_context(self._embedders.held(opened)), stack.pop_all()

    def _follow(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with suppress(Exception):
                self.look()  # else the next search looks for itself, and says what is wrong
