"""Tell how good a pipeline's searches are: measured, unless it is known, and judged."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from assets.work.opened import Opened
from assets.work.quality.judging import verdict
from assets.work.quality.measuring import Measuring
from assets.work.quality.state import Contents, state
from assets.work.quality.worse import worse
from assets.work.searching import Searcher
from resources.core.errors import EvaluationError
from resources.evaluation.judged import QuerySet
from resources.evaluation.measures import MEASURES, per_query
from resources.registry.evaluations import Evaluation, Kind
from resources.sources.fields import overlap

ATTEMPTS = 3
"""Where the index or the judged queries change meanwhile."""
KEPT = 20
"""Evaluations whose rankings are kept."""
_ABANDONED = timedelta(days=1)
"""Rankings of an evaluation that was not finished by then."""


@dataclass(frozen=True)
class Measured:
    """What the asset `search_quality` comes to.

    Attributes:
        evaluation: As the registry has it.
        baseline: What it is compared with.
        reused: Nothing that the figures go by has changed since they were measured.
        seconds: How long it took.
    """

    evaluation: Evaluation
    baseline: Evaluation | None
    reused: bool
    seconds: float


def measure(o: Opened) -> Measured:
    """Measure the searches of a pipeline; what was measured of the same before is used again.

    Killed anywhere and called again, it asks no query twice.

    Raises:
        EvaluationError: The judged queries cannot be used, or the library is not installed.
        EmbeddingsError: There is no index, no server, no key.
    """
    start = time.monotonic()
    evaluations, queries = o.registry.evaluations, o.judged_queries

    def known(state: Mapping[str, Any]) -> Evaluation | None:
        latest = evaluations.latest(o.name, state["queries"])
        return latest if latest is not None and latest.state == state else None

    made, reused = figures(o, queries, known)
    baseline = evaluations.baseline(o.name, made.queries.digest, before=made.id)
    judged = _judged(o, made, baseline, queries, new=not reused)
    if judged != made or not reused:
        evaluations.record(judged)
    else:
        evaluations.note_seen(judged.id)
    _prune(o, judged)
    return Measured(judged, baseline, reused, time.monotonic() - start)


def figures(
    o: Opened,
    queries: QuerySet,
    known: Callable[[Mapping[str, Any]], Evaluation | None],
    *,
    kind: Kind = "search_quality",
) -> tuple[Evaluation, bool]:
    """Figures of the space that the pipeline is opened in, whichever serves.

    Args:
        o: The pipeline.
        queries: That are asked.
        known: What was measured of a state before, if anything was.
        kind: Of the evaluation.

    Returns:
        The evaluation, which is not recorded, and whether it was known already.

    Raises:
        EvaluationError: As `measure`.
    """
    per_query([], [])  # refuses now where the library is missing
    _check_segments(o)
    with ExitStack() as stack:
        searcher = Searcher(o, stack, follow=False, pinned=True)
        stack.callback(searcher.close)
        for _ in range(ATTEMPTS):
            contents = _contents(queries)
            found = state(o, searcher.serving(), contents.digest)
            if (before := known(found)) is not None:
                o.log(f"nothing to do: all is as it was when {before.id} was measured")
                return before, True
            begun = Measuring(o, searcher, queries, contents, found, kind)
            made = begun.evaluation()
            if made is not None and state(o, searcher.serving(), contents.digest) == found:
                return made, False
            what = "the judged queries have" if made is None else "the index has"
            o.log(f"{what} changed while it was measured: once more")
            begun.forget()
    raise EvaluationError(
        f"the index of {o.name}, or what {queries.describe()} holds, changed {ATTEMPTS} times "
        "while it was measured: measure when nobody is at work on them"
    )


def _judged(
    o: Opened, made: Evaluation, baseline: Evaluation | None, queries: QuerySet, *, new: bool
) -> Evaluation:
    """By the settings and the baseline as they are now; neither is what figures go by."""
    before = baseline.id if baseline else None
    if new or made.baseline != before:
        lost = worse(o, made.id, baseline, queries, next(iter(MEASURES))) if baseline else []
        made = replace(made, baseline=before, details={**made.details, "worse": lost})
    return replace(made, passed=verdict(made.measures, baseline, o.evaluation).passed)


def _check_segments(o: Opened) -> None:
    for name in o.evaluation.segments:
        if not o.store.in_place and not any(overlap(name, each) for each in o.source.carry):
            raise EvaluationError(
                f"evaluation has {name!r} among its `segments`, which the stored documents do not "
                f"have: carry it (`source: {{carry: [{name}]}}`), or remove it"
            )


def _contents(queries: QuerySet) -> Contents:
    contents = Contents.of(queries)
    if not contents.answerable:
        some = f"all {contents.queries:,} queries have none" if contents.queries else "it is empty"
        raise EvaluationError(
            f"{queries.describe()} holds no query with a relevant document ({some}): nothing can "
            "be measured on it"
        )
    return contents


def _prune(o: Opened, current: Evaluation) -> None:
    """Remove rankings of evaluations that are long past, and of those that were abandoned."""
    found = o.registry.evaluations.history(o.name)
    wanted = {current.id, *(each.id for each in found[:KEPT])}
    wanted |= {each.id for each in found if each.accepted}
    wanted |= {each.baseline for each in found[:KEPT] if each.baseline}
    limit = f"{datetime.now(UTC) - _ABANDONED:%Y%m%dT%H%M%S}"
    known = {each.id for each in found}
    for name in o.batches.rankings.kept(o.name):
        if name not in wanted and (name in known or name < limit):
            o.batches.rankings.remove(o.name, name)
