"""What was measured of models on a pipeline's own data, and which of it compares."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from resources.evaluation.measures import MEASURES
from resources.models.catalogue import ModelEntry
from resources.registry.evaluations import Evaluation

MEASURE = next(iter(MEASURES))


@dataclass(frozen=True)
class Yardstick:
    """What two figures must have in common to be compared.

    Attributes:
        queries: Digest of the judged queries.
        corpus: What they were asked of, in words; two samples of equal size are one, since which
            documents are in a sample depends on nothing else.
        mode: How they were asked.
        reranked: By which model, if any.
        described: The queries, for people.
        answerable: How many of them something is relevant for.
    """

    queries: str
    corpus: str
    mode: str
    reranked: str | None
    described: str = field(compare=False)
    answerable: int = field(compare=False)

    def __str__(self) -> str:
        asked = f"mode {self.mode}" + (f", reranked by {self.reranked}" if self.reranked else "")
        return (
            f"the {MEASURE} of {self.answerable:,} queries over {self.corpus} ({self.described}; "
            f"{asked})"
        )


@dataclass(frozen=True)
class Measured:
    """One measurement of one model.

    Attributes:
        mean: Of the first measure; `low` to `high`: its interval.
        by: What it compares with.
        measures: All of them.
    """

    provider: str
    model: str
    dimensions: int
    stored_as: str | None
    kind: str
    at: datetime
    mean: float
    low: float
    high: float
    by: Yardstick
    measures: Any

    def of(self, entry: ModelEntry) -> bool:
        return (self.provider, self.model) == (entry.provider, entry.model)


def measured_here(evaluations: Iterable[Evaluation]) -> Sequence[Measured]:
    """Those that say something of a model, in their order: no search by words does."""
    return [
        _measured(each, each.measures[MEASURE])
        for each in evaluations
        if each.mode != "text" and MEASURE in each.measures and "model" in each.model
    ]


def _measured(each: Evaluation, figure: Any) -> Measured:
    return Measured(
        str(each.model.get("provider", "")),
        str(each.model["model"]),
        int(each.model.get("dimensions") or 1),
        each.model.get("stored_as"),
        each.kind,
        each.at,
        figure["mean"],
        figure["low"],
        figure["high"],
        Yardstick(
            each.queries.digest,
            _corpus(each),
            each.mode,
            each.reranked,
            each.queries.description,
            each.queries.answerable,
        ),
        each.measures,
    )


def _corpus(each: Evaluation) -> str:
    if each.kind == "search_quality":
        return "all stored documents"
    sample, of = each.details.get("sample"), each.details.get("corpus")
    if not sample or of is None:
        return f"the sample of {each.run}"
    return f"a sample of {sample['documents']:,} of {of:,} documents"


def yardstick(figures: Sequence[Measured], mode: str) -> Yardstick | None:
    """By which most models were measured; of several that which asks by `mode`, then the newest."""
    models: dict[Yardstick, set[tuple[str, str]]] = defaultdict(set)
    newest: dict[Yardstick, datetime] = {}
    for each in figures:
        models[each.by].add((each.provider, each.model))
        newest[each.by] = max(each.at, newest.get(each.by, each.at))

    def rank(by: Yardstick) -> tuple[int, bool, bool, datetime]:
        return len(models[by]), by.mode == mode, by.reranked is None, newest[by]

    return max(models, key=rank, default=None)
