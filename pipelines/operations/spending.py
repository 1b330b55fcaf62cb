"""What pipelines have spent: by day, pipeline and model, over all deployments of the project."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import fsum
from pathlib import Path
from typing import Any, Literal

from assets.work.opened import Opened
from pipelines.operations.several import PATIENCE_SECONDS, Looks, Unseen, address, chosen
from resources.core.days import ALWAYS, Days
from resources.registry.ledger import Spend
from resources.registry.reranking import RerankSpend

By = Literal["day", "pipeline", "model"]
KEYS: tuple[By, ...] = ("day", "pipeline", "model")


@dataclass(frozen=True)
class Spent:
    """What a group of days, pipelines and models took.

    Attributes:
        by: What the group has in common.
        sums: All that was counted, by its name.
    """

    by: Mapping[str, str]
    sums: Mapping[str, float]


@dataclass(frozen=True)
class Spending:
    """Embedding and reranking, apart from one another.

    Attributes:
        unseen: Why of a pipeline's deployment nothing is counted in here.
    """

    embedding: Sequence[Spent]
    reranking: Sequence[Spent]
    embedding_total: Mapping[str, float]
    reranking_total: Mapping[str, float]
    unseen: Mapping[str, Unseen]


def spending(
    names: Sequence[str] = (),
    overrides: Sequence[str | Path] = (),
    *,
    days: Days = ALWAYS,
    by: Sequence[By] = KEYS,
    whole: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> Spending:
    """Sums of the ledgers, each of which is read once.

    Args:
        names: Of the pipelines, whose servers are started if they sleep; none for all of the
            project, of which a server that sleeps is left asleep.
        overrides: YAML run configs merged on top of each pipeline's own.
        days: Which, in UTC.
        by: What to tell apart.
        whole: All pipelines in the ledgers of those named, not these alone.
        patience: Seconds to wait for each deployment.
    """
    pipelines = chosen(names)
    everything = whole or not names
    ledgers = _Ledgers(days, everything=everything)
    found = Looks(pipelines, ledgers.read, overrides, patience, wake=bool(names)).wait()
    rows = [row for each in found.values() if not isinstance(each, Unseen) for row in each]
    unseen = {name: each for name, each in found.items() if isinstance(each, Unseen)}
    embedding = [row for row in rows if isinstance(row, Spend)]
    reranking = [row for row in rows if isinstance(row, RerankSpend)]
    return Spending(
        _grouped(embedding, by),
        _grouped(reranking, by),
        _total(embedding),
        _total(reranking),
        unseen,
    )


class _Ledgers:
    """Reads each pipeline's rows, or each ledger whole, once."""

    def __init__(self, days: Days, *, everything: bool) -> None:
        self._days, self._everything = days, everything
        self._lock = threading.Lock()
        self._read: set[tuple[str, ...]] = set()

    def read(self, opened: Opened) -> list[Spend | RerankSpend]:
        key = (address(opened), opened.mongodb.registry)
        whose = None if self._everything else opened.name
        if whose is not None:  # two modules may name one pipeline
            key = (*key, whose)
        with self._lock:
            if key in self._read:
                return []
            self._read.add(key)
        registry = opened.registry
        return [
            *registry.ledger.spend(whose, self._days),
            *registry.reranked.spend(whose, self._days),
        ]


def _grouped(rows: Sequence[Spend] | Sequence[RerankSpend], by: Sequence[By]) -> list[Spent]:
    """Sums of what has the same day, pipeline and model, as far as those are told apart."""
    kept = [key for key in KEYS if key in by]
    groups: dict[tuple[str, ...], list[Any]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, key) for key in kept), []).append(row)
    found = [Spent(dict(zip(kept, key, strict=True)), _total(some)) for key, some in groups.items()]
    named = sorted(found, key=lambda each: [each.by.get(key, "") for key in ("pipeline", "model")])
    return sorted(named, key=lambda each: each.by.get("day", ""), reverse=True)


def _total(rows: Iterable[Spend | RerankSpend]) -> dict[str, float]:
    # Exactly rounded, so that groups come to the same however they were formed, as near as can be.
    listed = list(rows)
    if not listed:
        return {}
    names = [each.name for each in fields(listed[0]) if each.name not in KEYS]
    sums = {name: [getattr(row, name) for row in listed] for name in names}
    return {
        name: sum(values) if all(isinstance(value, int) for value in values) else fsum(values)
        for name, values in sums.items()
    }
