"""What cannot be embedded, of several pipelines at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.work.opened import Opened
from pipelines.operations.several import PATIENCE_SECONDS, Looks, Unseen, chosen
from resources.registry.quarantine import Quarantined


@dataclass(frozen=True)
class InQuarantine:
    """Entries by pipeline, those that have none left out.

    Attributes:
        unseen: Why of a pipeline nothing can be told.
        counts: How many there are of each pipeline in all, also where fewer were asked for.
    """

    entries: Mapping[str, Sequence[Quarantined]]
    counts: Mapping[str, int]
    unseen: Mapping[str, Unseen]


def in_quarantine(
    names: Sequence[str] = (),
    overrides: Sequence[str | Path] = (),
    *,
    reason: str = "",
    limit: int = 0,
    patience: float = PATIENCE_SECONDS,
) -> InQuarantine:
    """Entries of the quarantine, the oldest first.

    Args:
        names: Of the pipelines, whose servers are started if they sleep; none for all of the
            project, of which a server that sleeps is left asleep.
        overrides: YAML run configs merged on top of each pipeline's own.
        reason: Only entries whose reason has this in it, in capitals or not.
        limit: So many of each pipeline at most; 0 for all.
        patience: Seconds to wait for each deployment.
    """

    def look(opened: Opened) -> tuple[list[Quarantined], int]:
        kept = opened.registry.quarantine
        entries = kept.entries(opened.name, limit, reason=reason)
        return entries, kept.count(opened.name, reason=reason) if limit else len(entries)

    found = Looks(chosen(names), look, overrides, patience, wake=bool(names)).wait()
    seen = {name: each for name, each in found.items() if not isinstance(each, Unseen)}
    return InQuarantine(
        {name: entries for name, (entries, _) in seen.items() if entries},
        {name: count for name, (_, count) in seen.items() if count},
        {name: each for name, each in found.items() if isinstance(each, Unseen)},
    )
