"""Checks on the asset `search_quality`: whether searches are good enough, and no worse than before.

None of them blocks anything: vectors and index serve as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import getdoc
from typing import Any

import dagster as dg

from assets.about import QUALITY
from assets.opened import opened, required
from assets.work.opened import Opened
from assets.work.quality.chance import by_chance
from assets.work.quality.judging import verdict
from resources.core.markdown import literal
from resources.evaluation.measures import Difference
from resources.registry.evaluations import Evaluation

NAMED = 5
"""Queries that a check names; a table of the asset has more."""


def build_quality_checks(pipeline: str, prefix: str) -> Sequence[dg.AssetChecksDefinition]:
    def build(
        judge: Callable[[Opened, Evaluation], dg.AssetCheckResult],
    ) -> dg.AssetChecksDefinition:
        @dg.asset_check(
            asset=dg.AssetKey([pipeline, QUALITY]),
            name=judge.__name__,
            description=getdoc(judge),
            required_resource_keys=required(prefix),
        )
        def check(context: dg.AssetCheckExecutionContext) -> Any:
            with opened(context, pipeline, prefix) as o:
                found = _latest(o) if o.evaluation.chosen else None
                if found is None:
                    return dg.AssetCheckResult(
                        passed=True, description="nothing is measured: there are no judged queries"
                    )
                judged = judge(o, found)
            # The Dagster UI reads it as Markdown, and it may name what stands in documents.
            return judged._replace(description=literal(judged.description or ""))

        return check

    judges = (good_enough, no_worse_than_before, relevant_documents_are_there, enough_queries)
    return [build(judge) for judge in judges]


def good_enough(o: Opened, found: Evaluation) -> dg.AssetCheckResult:
    """No measure is below what `evaluation: min` asks for."""
    minima = o.evaluation.min
    low = verdict(found.measures, None, o.evaluation).low
    if not minima:
        said = "nothing is asked for: `evaluation: {min: {ndcg@10: 0.4}}` would ask for something"
    elif low:
        said = "; ".join(
            f"{name} is {is_:.4f}, asked for is {least:g}" for name, (is_, least) in low.items()
        )
        said += f" ({_of(found)}): see the asset's tables for where"
    else:
        said = ", ".join(
            f"{name} is {found.measures[name]['mean']:.4f}, at least {least:g} is asked for"
            for name, least in minima.items()
        )
    metadata = {name: found.measures[name]["mean"] for name in minima}
    return dg.AssetCheckResult(passed=not low, description=said, metadata=metadata)


def no_worse_than_before(o: Opened, found: Evaluation) -> dg.AssetCheckResult:
    """No measure fell by more than `evaluation: tolerance` since the last that passed."""
    digest = found.queries.digest
    before = o.registry.evaluations.baseline(o.name, digest, before=found.id)
    if found.accepted is not None:
        return dg.AssetCheckResult(
            passed=True, description="it was accepted: later ones are compared with it"
        )
    if before is None:
        return dg.AssetCheckResult(
            passed=True,
            description="there is none before it of the same queries that passed",
        )
    worse = verdict(found.measures, before, o.evaluation).worse
    chance = by_chance(o, before, found)
    named = f"{before.id}, {'accepted' if before.accepted else 'which passed'} ({_whose(before)})"
    changes = {
        f"{name} change": each["mean"] - before.measures[name]["mean"]
        for name, each in found.measures.items()
        if name in before.measures
    }
    if worse:
        said = "; ".join(
            f"{name} fell from {then:.4f} to {now:.4f}{_chance(chance.get(name))}"
            for name, (then, now) in worse.items()
        )
        tolerated = f"{o.evaluation.tolerance:g} is tolerated"
        said += (
            f" since {named}; {tolerated}. If that is wanted: "
            f"`embeddings evaluate {o.name} --accept {found.id}`"
        )
    else:
        first = next(iter(changes), "")
        said = (
            f"compared with {named}: {first} {changes[first]:+.4f}{_chance(chance.get(first))}"
            if first
            else named
        )
    return dg.AssetCheckResult(
        passed=not worse,
        description=said,
        metadata={
            "compared with": before.id,
            **_floats(changes),
            **{f"{name} p": each.p for name, each in chance.items()},
        },
    )


def relevant_documents_are_there(o: Opened, found: Evaluation) -> dg.AssetCheckResult:
    """Every document that is judged relevant is in the store, so that a search could find it."""
    queries, lacking = found.queries, found.details.get("queries lacking one", 0)
    missing = queries.not_in_store + queries.in_quarantine
    said = "every relevant document has its vector"
    if missing:
        named = [
            f"{row['document']} of {row['query']} ({row['where']})"
            for row in found.details["absent"][:NAMED]
        ]
        first = next(iter(found.measures))
        counted = found.measures[first]["mean"]
        left_out = found.measures_of_stored.get(first, {}).get("mean")
        without = "nothing is left" if left_out is None else f"{left_out:.4f}"
        said = (
            f"relevant documents not in the store: {queries.not_in_store:,}, in quarantine: "
            f"{queries.in_quarantine:,}; queries that lack one: {lacking:,}; such as "
            f"{', '.join(named)}: {first} is {counted:.4f} where they count as missed, which the "
            f"checks go by, and {without} without them"
        )
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "not in the store": queries.not_in_store,
            "in quarantine": queries.in_quarantine,
            "queries lacking one": lacking,
        },
    )


def enough_queries(o: Opened, found: Evaluation) -> dg.AssetCheckResult:
    """There are so many queries that the figures tell something."""
    count, least = found.queries.answerable, o.evaluation.min_queries
    name, first = next(iter(found.measures.items()))
    width = first["high"] - first["low"]
    spread = (
        f"{name} {first['mean']:.4f} may be anything from {first['low']:.3f} to "
        f"{first['high']:.3f} for other such queries"
    )
    few = count < least
    said = f"{count:,} queries with an answer: {spread}"
    if few:
        # Queries that all fare alike have an interval of no width, which promises nothing.
        told = f"a difference smaller than about {width / 2:.2f}: {spread}" if width else "anything"
        said = (
            f"{count:,} queries with an answer are too few to tell {told}; judge {least:,} or "
            "more, or say with `min_queries` that fewer will do"
        )
    return dg.AssetCheckResult(
        passed=not few,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={"queries": count, "width of the interval": float(width)},
    )


def _latest(o: Opened) -> Evaluation | None:
    """Of this run, which has just measured or seen that all is as it was."""
    return o.registry.evaluations.current(o.name)


def _of(found: Evaluation) -> str:
    return f"{found.queries.answerable:,} queries of {found.queries.description}"


def _whose(found: Evaluation) -> str:
    return f"run {found.run}, {found.at:%Y-%m-%d %H:%M} UTC"


def _chance(found: Difference | None) -> str:
    """Whether a change is more than chance, where what was found is still kept."""
    if found is None or found.mean == 0:
        return ""
    said = "more than chance" if found.significant else "no more than chance could give"
    return f" ({said}, p = {found.p:.3f})"


def _floats(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: float(value) for name, value in values.items()}
