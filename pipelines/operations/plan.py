"""What a run would do and cost, without doing any of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from assets.work.budget import Estimate, check_budget, estimate
from assets.work.comparing import compare, why_not
from assets.work.planning import Counts, Part
from pipelines.framework.catalog import as_pipeline, missing_variables, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import ConfigurationError
from resources.embedders.packing import estimate_tokens
from resources.embedders.resource import EmbedderResource


@dataclass(frozen=True)
class DryRun:
    """A run that was not made.

    Attributes:
        counts: Of chunks: new, changed, unchanged, deleted, …
        rejected: Records that cannot be embedded.
        held: Texts that the provider has refused before.
        model: What would embed.
        space: Id of the space.
        estimate: Texts, tokens and money.
        seconds: From the rate of the model's latest run here; None before the first.
        parts: Kind of work and chunks, in the order in which it would be done.
        missing: Environment variables that a run needs besides, and which resource does.
        refused: Why a run would not begin to embed; empty where it would.
        overruled: Choices of the pipeline's own files that a fragment after them takes back.
        compared: False where the deployment cannot be asked without one of the variables: all that
            is counted above is 0 then.
    """

    counts: Counts
    rejected: int
    held: int
    model: str
    space: str
    estimate: Estimate
    seconds: float | None
    parts: dict[str, int]
    missing: Mapping[str, str]
    refused: str = ""
    overruled: Sequence[str] = ()
    compared: bool = True


def dry_run(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    auditing: bool = False,
) -> DryRun:
    """Read the source and compare it with the store; writes nothing and asks no provider.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        auditing: Count as well what a run would refuse: deletions, what others have stored.

    Raises:
        EmbeddingsError: What would stop the run as well.
    """
    chunks: dict[str, int] = {}
    totals = {"texts": 0, "tokens": 0}

    def count(part: Part) -> None:
        chunks[part.kind] = chunks.get(part.kind, 0) + len(part.chunks)
        if part.kind == "embed":
            totals["texts"] += len(part.chunks)
            totals["tokens"] += sum(estimate_tokens(chunk.text) for chunk in part.chunks)

    pipeline = as_pipeline(pipeline)
    overruled = tuple(map(str, pipeline.overruled()))
    missing = missing_variables(pipeline, overrides)
    with open_pipeline(pipeline, overrides, without=missing) as opened:
        if "mongodb" in missing.values():
            opened.check_settings()
            space, nothing = opened.embedder_space, Estimate(0, 0, None)
            model = opened.embedder.facts().model
            return DryRun(
                Counts(), 0, 0, model, space.id, nothing, None, {}, missing,
                overruled=overruled, compared=False,
            )  # fmt: skip
        if auditing:
            opened.check_settings()
        else:
            opened.check()
        found = compare(
            opened,
            max_delete_fraction=1.0 if auditing else opened.vector_store.deletable,
            why_not=opened.store.why_not if auditing else partial(why_not, opened.store),
            reject=lambda _: None,
            hold=lambda *_: None,
            emit=count,
            log=lambda _: None,
        )
        embedder, space, facts = opened.embedder, opened.space, opened.embedder.facts()
        cost = estimate(facts, **totals)
        rate = opened.registry.ledger.texts_per_second(space.provider, facts.model)
        return DryRun(
            found.counts,
            found.rejected,
            found.counts.held,
            facts.model,
            space.id,
            cost,
            cost.texts / rate if rate else None,
            chunks,
            missing,
            _over_budget(cost, facts.model, embedder),
            overruled,
        )


def _over_budget(cost: Estimate, model: str, limits: EmbedderResource) -> str:
    try:
        check_budget(
            cost, model=model, max_tokens=limits.max_tokens, max_cost_usd=limits.max_cost_usd
        )
    except ConfigurationError as error:
        return str(error)
    return ""
