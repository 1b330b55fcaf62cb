"""What a run would do and cost, without doing any of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import fsum
from pathlib import Path

from assets.work.budget import NOTHING, Estimate, check_budget, estimate
from assets.work.comparing import compare, why_not
from assets.work.counts import Counts
from assets.work.opened import Opened
from assets.work.planning import Part
from pipelines.framework.catalog import as_pipeline, missing_variables, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import ConfigurationError
from resources.core.variables import unset
from resources.embedders.packing import estimate_tokens
from resources.registry.ledger import Billed


@dataclass(frozen=True)
class LanePlan:
    """What a run would do in one space.

    Attributes:
        counts: Of chunks: new, changed, unchanged, deleted, …
        rejected: Records that cannot be embedded.
        held: Texts that the provider has refused before.
        model: What would embed.
        space: Id of the space.
        estimate: Texts, tokens and money.
        seconds: From the rate of the model's latest run here; None before the first.
        parts: Kind of work and chunks, in the order in which it would be done.
        path: Where the vectors lie, or will; `index` is over them.
        resumed: A run before has begun the space.
    """

    counts: Counts
    rejected: int
    held: int
    model: str
    space: str
    estimate: Estimate
    seconds: float | None
    parts: dict[str, int]
    path: str = ""
    index: str = ""
    resumed: bool = False


@dataclass(frozen=True)
class DryRun(LanePlan):
    """A run that was not made: of the space that serves or will; what else it builds is beside it.

    Attributes:
        missing: Environment variables that a run needs besides, and which resource does.
        refused: Why a run would not begin to embed; empty where it would.
        overruled: Choices of the pipeline's own files that a fragment after them takes back.
        compared: False where the deployment cannot be asked without one of the variables: all that
            is counted above is 0 then.
        left_alone: The space that serves is left as it is (`keep_serving: false`): nothing is
            counted of it, and `candidate` is all that a run would do.
        candidate: Another space that a run would build beside the one that serves.
        total: Texts, tokens and money of both; the budget is for that.
    """

    missing: Mapping[str, str] | None = None
    refused: str = ""
    overruled: Sequence[str] = ()
    compared: bool = True
    left_alone: bool = False
    candidate: LanePlan | None = None

    @property
    def total(self) -> Estimate:
        return added(self.estimate, self.candidate.estimate) if self.candidate else self.estimate


def added(one: Estimate, other: Estimate) -> Estimate:
    """What two spaces take together; the money of nothing is nothing, whatever its price."""
    each = [o.cost_usd if o.texts else 0.0 for o in (one, other)]
    known = [cost for cost in each if cost is not None]
    cost = fsum(known) if len(known) == len(each) else None
    return Estimate(one.texts + other.texts, one.tokens + other.tokens, cost)


def dry_run(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    auditing: bool = False,
) -> DryRun:
    """Read the source and compare it with the store; writes nothing and asks no provider.

    Where another space is wanted than the one that serves, the source is read once for each.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        auditing: Count as well what a run would refuse: deletions, what others have stored; of
            the space that serves alone.

    Raises:
        EmbeddingsError: What would stop the run as well.
    """
    pipeline = as_pipeline(pipeline)
    overruled = tuple(map(str, pipeline.overruled()))
    missing = missing_variables(pipeline, overrides)
    with open_pipeline(pipeline, overrides, without=missing) as opened:
        if "mongodb" in missing.values():
            opened.check_settings()
            space, nothing = opened.embedder_space, Estimate(0, 0, None)
            model = opened.embedder.facts().model
            return DryRun(
                Counts(), 0, 0, model, space.id, nothing, None, {},
                missing=missing, overruled=overruled, compared=False,
            )  # fmt: skip
        main, beside = opened.main if auditing else opened.kept, opened.candidate
        beside = None if auditing else beside
        alone = bool(main.left_alone) and not auditing
        first = _nothing(main) if alone else _planned(main, auditing=auditing)
        second = _planned(beside) if beside else None
        return DryRun(
            **vars(first),
            missing=missing,
            refused=_refused(main, first, beside, second, alone=alone),
            overruled=overruled,
            left_alone=alone,
            candidate=second,
        )


def _planned(o: Opened, *, auditing: bool = False) -> LanePlan:
    """Of one space."""
    chunks: dict[str, int] = {}
    totals = {"texts": 0, "tokens": 0}

    def count(part: Part, _: int) -> None:
        chunks[part.kind] = chunks.get(part.kind, 0) + len(part.chunks)
        if part.kind == "embed":
            totals["texts"] += len(part.chunks)
            totals["tokens"] += sum(estimate_tokens(chunk.text) for chunk in part.chunks)

    if auditing:
        o.check_settings()
    else:
        o.check()
    found = compare(
        o,
        max_delete_fraction=1.0 if auditing else o.vector_store.deletable,
        why_not=o.store.why_not if auditing else partial(why_not, o.store),
        reject=lambda _: None,
        hold=lambda *_: None,
        emit=count,
        log=lambda _: None,
    )
    facts = o.embedder.facts()
    cost = estimate(facts, **totals)
    rate = o.registry.ledger.texts_per_second(o.space.provider, facts.model)
    entry = o.record.entry(o.space.id)
    return LanePlan(
        found.counts,
        found.rejected,
        found.counts.held,
        facts.model,
        o.space.id,
        cost,
        cost.texts / rate if rate else None,
        chunks,
        o.vector_store.path,
        o.search_index.name,
        entry is not None and not entry.retired,
    )


def _nothing(o: Opened) -> LanePlan:
    """Of a space that is left as it is."""
    none, space = Estimate(0, 0, 0.0), o.record.serving or ""
    path, index = o.vector_store.path, o.search_index.name
    return LanePlan(Counts(), 0, 0, "", space, none, 0.0, {}, path, index, True)


def _refused(
    main: Opened, first: LanePlan, beside: Opened | None, second: LanePlan | None, *, alone: bool
) -> str:
    """Why a run would stop, in the order in which it would find out."""
    if beside is not None and first.estimate.texts and not alone:
        for name in unset(main.embedder.provider):
            return (
                f"{name} is not set, which the space {first.space}, that serves, is embedded with: "
                "set it, or leave that space as it is with `model_change: {config: {keep_serving: "
                "false}}`"
            )
    said = _over_budget(main, first)
    if not said and beside is not None and second is not None:
        before = Billed(first.estimate.tokens, first.estimate.cost_usd or 0.0)
        said = _over_budget(beside, second, before)
    return said


def _over_budget(o: Opened, planned: LanePlan, before: Billed = NOTHING) -> str:
    limits = o.embedder
    try:
        check_budget(
            planned.estimate,
            model=planned.model,
            max_tokens=limits.max_tokens,
            max_cost_usd=limits.max_cost_usd,
            before=before,
        )
    except ConfigurationError as error:
        return str(error)
    return ""
