"""Tell how good a pipeline's searches are: measured, unless it is known, and judged."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from assets.work.opened import Opened
from assets.work.quality.judging import verdict
from assets.work.quality.measuring import Measuring
from assets.work.quality.state import Contents, state
from assets.work.quality.worse import worse
from assets.work.searching import Searcher
from resources.core.errors import EvaluationError
from resources.evaluation.judged import QuerySet
from resources.evaluation.measures import MEASURES, per_query
from resources.registry.evaluations import Evaluation
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
    per_query([], [])  # refuses now where the library is missing
    _check_segments(o)
    evaluations, queries = o.registry.evaluations, o.judged_queries
    with ExitStack() as stack:
        searcher = Searcher(o, stack, follow=False, pinned=True)
        stack.callback(searcher.close)
        for _ in range(ATTEMPTS):
            contents = _contents(queries)
            found = state(o, searcher.serving(), contents.digest)
            known = evaluations.latest(o.name, contents.digest)
            if known is not None and known.state == found:
                o.log(f"nothing to do: all is as it was when {known.id} was measured")
                made = known
            else:
                known = None
                begun = Measuring(o, searcher, queries, contents, found)
                made = begun.evaluation()
                if made is None or state(o, searcher.serving(), contents.digest) != found:
                    what = "the judged queries have" if made is None else "the index has"
                    o.log(f"{what} changed while it was measured: once more")
                    begun.forget()
                    continue
            baseline = evaluations.baseline(o.name, contents.digest, before=made.id)
            judged = _judged(o, made, baseline, queries, new=known is None)
            if judged != known:
                evaluations.record(judged)
            else:
                evaluations.note_seen(judged.id)
            _prune(o, judged)
            return Measured(judged, baseline, known is not None, time.monotonic() - start)
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
