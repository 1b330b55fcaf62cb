"""What a run would do and cost, without doing any of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.work.budget import Estimate, estimate
from assets.work.comparing import compare
from assets.work.planning import Counts, Part
from assets.work.preflight import check_deployment, check_settings
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.embedders.packing import estimate_tokens


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
    """

    counts: Counts
    rejected: int
    held: int
    model: str
    space: str
    estimate: Estimate
    seconds: float | None
    parts: dict[str, int]


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

    with open_pipeline(pipeline, overrides) as opened:
        embedder, store = opened.embedder, opened.vector_store
        space = opened.space
        check_settings(opened.source, store, opened.search_index, space)
        if not auditing:
            check_deployment(
                opened.client,
                source=opened.source,
                store=opened.store,
                search_index=opened.search_index,
                registry=opened.registry,
                space=space,
            )
        found = compare(
            opened.source,
            client=opened.client,
            store=opened.store,
            registry=opened.registry,
            batches=opened.batch_store.open(),
            embedder=embedder,
            space=space,
            max_delete_fraction=1.0 if auditing else store.deletable,
            why_not=opened.store.why_not if auditing else None,
            reject=lambda _: None,
            hold=lambda *_: None,
            emit=count,
            log=lambda _: None,
        )
        facts = embedder.facts()
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
        )
