"""`search`: one question, answered by a searcher that stays open for the next."""

import atexit
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from assets.work.searching.answer import SearchAnswer
from assets.work.searching.request import SearchOptions
from assets.work.searching.searcher import Asking, Searcher
from pipelines.framework.catalog import as_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.search.opening import open_searcher
from resources.core.errors import DeploymentError, ProviderError
from resources.core.paths import find_project

MAX_OPEN = 2
"""Each may hold a model and an index in memory."""


def search(
    pipeline: EmbeddingPipeline | str,
    query: Asking,
    *,
    overrides: Sequence[str | Path] = (),
    **options: Unpack[SearchOptions],
) -> SearchAnswer:
    """Embed the query as a query in the index's space, and find the nearest documents.

    A process keeps what it needs for the next question to the same pipeline; who asks many, from
    several threads, holds a searcher of its own: see `open_searcher`.

    Args:
        pipeline: Itself or its name.
        query: A text; or a vector, see `Searcher.search`.
        overrides: YAML run configs merged on top of the pipeline's own.
        options: See `SearchOptions`.

    Raises:
        QueryRefused: The answer would be wrong: another space, an undeclared filter field, …
        EmbeddingsError: No index yet, no server, no key.
    """
    found = as_pipeline(pipeline)
    space = options.pop("space", None)
    settings = _settings(found, overrides, space)

    def opened(stack: ExitStack) -> Searcher:
        return stack.enter_context(open_searcher(found, overrides, follow=False, space=space))

    with _kept.searcher(settings, opened) as (searcher, was_open):
        try:
            return searcher.search(query, **options)
        except (DeploymentError, ProviderError) as error:
            # A server may have moved, a key may have changed: the next call opens it all anew.
            _kept.drop(settings)
            if isinstance(error, ProviderError) or not was_open:
                raise
    with _kept.searcher(settings, opened) as (searcher, _):
        return searcher.search(query, **options)


def close() -> None:
    """Close what is kept for the next question; the process's end does so too."""
    _kept.close()


def _settings(
    pipeline: EmbeddingPipeline, overrides: Sequence[str | Path], space: str | None
) -> str:
    """Another string whenever anything changes that a searcher is opened by."""
    parts = [
        pipeline.name,
        os.getpid(),
        find_project(),
        pipeline.texts(overrides),
        sorted(os.environ.items()),
        space,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass
class _Open:
    searcher: Searcher
    stack: ExitStack
    users: int = 0
    dropped: bool = False


class _Kept:
    """Searchers that are open; one that is dropped is closed when nobody asks it any more."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: OrderedDict[str, _Open] = OrderedDict()

    @contextmanager
    def searcher(
        self, settings: str, opened: Callable[[ExitStack], Searcher]
    ) -> Iterator[tuple[Searcher, bool]]:
        """One to ask, and whether it was there before."""
        with self._lock:
            known = self._open.get(settings)
            was_open = known is not None
            if known is None:
                with ExitStack() as stack:
                    searcher = opened(stack)
                    known = _Open(searcher, stack.pop_all())
                self._open[settings] = known
            self._open.move_to_end(settings)
            known.users += 1
            while len(self._open) > MAX_OPEN:
                self.drop(next(iter(self._open)))
        try:
            yield known.searcher, was_open
        finally:
            with self._lock:
                known.users -= 1
                self._close_unused(known)

    def drop(self, settings: str) -> None:
        with self._lock:
            known = self._open.pop(settings, None)
            if known is not None:
                known.dropped = True
                self._close_unused(known)

    def _close_unused(self, known: _Open) -> None:
        if known.dropped and not known.users:
            known.stack.close()

    def close(self) -> None:
        for settings in list(self._open):
            self.drop(settings)


_kept = _Kept()
atexit.register(close)
