"""What two spaces hold and cost, side by side: nothing of it asks a model."""

from datetime import UTC, date, datetime

from assets.work.budget import dollars
from assets.work.changing.behind import Behind, behind
from assets.work.changing.standing import Standing
from assets.work.gating.verdict import Row
from assets.work.opened import Opened
from resources.core.keys import shown
from resources.model_change.resource import GateSettings
from resources.registry.pipeline_spaces import SpaceEntry

NAMED = 20
"""Chunks in quarantine that are named."""
MONTH = 30


def coverage(candidate: Opened, entry: SpaceEntry, serving: Opened | None) -> Row:
    """Every chunk has its vector, or stands in quarantine by name."""
    held = candidate.registry.quarantine.count(candidate.lane, "provider", "store")
    listed = candidate.registry.quarantine.entries(candidate.lane, NAMED) if held else []
    names = [shown(each.id) if each.id is not None else each.where for each in listed]
    missing = entry.missing if entry.built else max(1, entry.missing)
    said = f"{entry.vectors:,} vectors for {entry.chunks:,} chunks"
    if held:
        more = ", …" if held > len(names) else ""
        said += f", {held:,} in quarantine ({', '.join(names)}{more})"
    if missing:
        said += f", {missing:,} without a vector"
    lag = _lag(candidate, entry, serving, held)
    lost = max(0, lag.missing - held) if lag else 0
    if lag and (lost or lag.changed or lag.gone):
        said += f"; it lags behind what serves: {lag}"
        missing += lost + lag.changed + lag.gone
    return Row(
        "coverage",
        f"{serving.store.count():,} vectors" if serving else "",
        said,
        "a vector for every chunk that is not in quarantine",
        passed=not missing,
        figures={"candidate": entry.vectors, "missing": missing, "quarantined": held},
    )


def _lag(candidate: Opened, entry: SpaceEntry, serving: Opened | None, held: int) -> Behind | None:
    """How far it is behind what serves, which later runs may have kept up to date alone.

    Args:
        candidate: In the space.
        entry: As it is noted.
        serving: In the one that serves; None where none does.
        held: Chunks of the candidate that stand in quarantine.
    """
    if serving is None:
        return None
    other = candidate.record.entry(candidate.record.serving)
    later = bool(
        other and entry.complete_at and other.complete_at and entry.complete_at >= other.complete_at
    )
    # A run that did not read the source to its end has met all that it looked at, and no more.
    if later and entry.vectors + held >= serving.store.count():
        return None
    return behind(candidate, serving)


def index(standing: Standing) -> Row:
    said = f"serves {standing.indexed:,} of {standing.stored:,} vectors"
    return Row(
        "index",
        "",
        said + (f": {standing.why}" if standing.why else ""),
        "serves every vector",
        passed=not standing.why and standing.indexed >= standing.stored,
        figures={"stored": standing.stored, "indexed": standing.indexed},
    )


def stored_bytes(candidate: Opened, serving: Opened | None, gate: GateSettings) -> Row:
    now, most = _bytes(candidate), gate.max_bytes_factor
    before = _bytes(serving) if serving else None
    passed = None
    if most is not None and before is not None:
        passed = now <= most * before
    figures = {"candidate": now} if before is None else {"candidate": now, "serving": before}
    return Row(
        "bytes of vectors",
        "" if before is None else f"{before:,}",
        f"{now:,}",
        f"at most {most:g} times as many" if most is not None else "",
        passed=passed,
        figures=figures,
    )


def _bytes(lane: Opened) -> int:
    return lane.store.count() * lane.store.format.bytes_each(lane.space.dimensions)


def month(candidate: Opened, serving: Opened | None, gate: GateSettings) -> Row:
    """What keeping it fresh costs, if as much changes as did in the space that serves."""
    tokens = monthly_tokens(serving, datetime.now(UTC).date()) if serving else None
    most = gate.max_cost_usd_per_month
    allowed = f"at most {dollars(most)}" if most is not None else ""
    if tokens is None or serving is None:
        unknown = "not known: the pipeline has embedded for less than a day"
        free = candidate.embedder.facts().usd_per_million == 0
        passed = None if most is None else free
        return Row("cost a month", "", "free" if free else unknown, allowed, passed)
    now, before = (lane.embedder.facts().cost_usd(tokens) for lane in (candidate, serving))
    costs = {"candidate": now, "serving": before}
    figures = {name: cost for name, cost in costs.items() if cost is not None}
    return Row(
        "cost a month",
        dollars(before),
        f"{dollars(now)} for {tokens:,} tokens",
        allowed,
        passed=None if most is None else now is not None and now <= most,
        figures={**figures, "tokens": tokens},
    )


def monthly_tokens(lane: Opened, today: date) -> int | None:
    """Tokens that a month takes, from what days after the first have taken; None: too early."""
    spent = lane.registry.ledger.spend(lane.lane)
    if not spent:
        return None
    first = min(date.fromisoformat(each.day) for each in spent)
    days = (today - first).days
    if days < 1:
        return None
    later = sum(each.tokens for each in spent if date.fromisoformat(each.day) > first)
    return round(later * MONTH / days)
