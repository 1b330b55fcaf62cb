"""Let another of a pipeline's spaces serve, go back to the one before, take one away."""

import getpass
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from assets.work.changing import promoting, retiring, rolling_back
from assets.work.changing.flipping import Flipped
from assets.work.changing.retiring import Retired
from assets.work.opened import Opened
from pipelines.framework.catalog import missing_variables, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline

Log = Callable[[str], None]


def promote(
    pipeline: EmbeddingPipeline | str,
    space: str,
    *,
    force: str | None = None,
    by: str | None = None,
    overrides: Sequence[str | Path] = (),
    log: Log = lambda line: None,
) -> Flipped:
    """Let a space serve: searches answer from it within a second.

    Args:
        pipeline: Itself or its name.
        space: Id of the space, or the beginning of one that no other has.
        force: Why it is to serve although the gate, or something else, speaks against it; kept in
            the history.
        by: Who asks; default: `user@host`.
        overrides: YAML run configs merged on top of the pipeline's own.
        log: Takes lines of progress.

    Raises:
        SpaceError: It may not serve; the message says why, and what to do.
    """
    with opened_to_change(pipeline, "promote", overrides, log) as o:
        return promoting.promote(o, space, force=force, by=by or myself())


def rollback(
    pipeline: EmbeddingPipeline | str,
    *,
    why: str = "",
    by: str | None = None,
    overrides: Sequence[str | Path] = (),
    log: Log = lambda line: None,
) -> Flipped:
    """Let the space serve that did before; nothing is measured first.

    Args:
        pipeline: Itself or its name.
        why: Kept in the history.
        by: Who asks; default: `user@host`.
        overrides: YAML run configs merged on top of the pipeline's own.
        log: Takes lines of progress.

    Returns:
        What serves now, and how stale it is.

    Raises:
        SpaceError: There is none to go back to, or its index does not serve.
    """
    with opened_to_change(pipeline, "rollback", overrides, log) as o:
        return rolling_back.rollback(o, why=why, by=by or myself())


def retire(
    pipeline: EmbeddingPipeline | str,
    space: str,
    *,
    force: str | None = None,
    by: str | None = None,
    overrides: Sequence[str | Path] = (),
    log: Log = lambda line: None,
) -> Retired:
    """Drop a space's index, take its vectors away, remove the batches that nothing needs.

    What it was stays noted. Killed anywhere and called again, it goes on.

    Args:
        pipeline: Itself or its name.
        space: Id of the space, or the beginning of one that no other has.
        force: Why the space that served before is to go sooner than `retire_after_days`.
        by: Who asks; default: `user@host`.
        overrides: YAML run configs merged on top of the pipeline's own.
        log: Takes lines of progress.

    Raises:
        SpaceError: It serves, is the way back, is gone already, or a run works on it.
        LeaseError: A run took it over.
    """
    with opened_to_change(pipeline, "retire", overrides, log) as o:
        return retiring.retire(o, space, force=force, by=by or myself())


def myself() -> str:
    """Who is at the command line: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


@contextmanager
def opened_to_change(
    pipeline: EmbeddingPipeline | str,
    what: str,
    overrides: Sequence[str | Path] = (),
    log: Log = lambda line: None,
) -> Iterator[Opened]:
    """A pipeline for who changes its spaces, which needs no key of a provider by itself."""
    unset = missing_variables(pipeline, overrides)
    later = [name for name, resource in unset.items() if resource in ("embedder", "rerank")]
    run = f"{what}-{secrets.token_hex(4)}"
    with open_pipeline(pipeline, overrides, later=later, run=run, log=log) as o:
        yield o
