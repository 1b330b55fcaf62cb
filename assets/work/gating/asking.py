"""The queries that both spaces are asked, embedded within the budget and written down as spent."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from assets.work.budget import Estimate, check_budget
from assets.work.opened import Opened
from assets.work.quality.vectors import query_vectors
from assets.work.searching.queries import QueryEmbedder
from resources.batch_store.evaluations import WINDOW
from resources.core.windows import windows
from resources.embedders.packing import estimate_tokens
from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.generated import GeneratedQueries


def queries_of(o: Opened) -> QuerySet:
    """The pipeline's own judged queries; where it has none, some made from its documents."""
    if o.evaluation.chosen:
        return o.judged_queries
    return GeneratedQueries().open(o.where)


def embed(lanes: Sequence[Opened], queries: QuerySet) -> None:
    """See that every query has its vector in each space; what has one is not paid for again.

    Raises:
        ConfigurationError: They cost more than a run may spend; nothing is spent.
        ProviderError: A provider is out of reach; what was embedded before is kept.
    """
    if lanes[0].evaluation.mode == "text":
        return
    texts = tokens = 0
    costs: list[float | None] = []
    models: list[str] = []
    for lane in lanes:
        facts, missing = lane.embedder.facts(), 0
        for window in _missing(lane, queries):
            texts += len(window)
            missing += sum(map(estimate_tokens, window))
        if missing:
            tokens += missing
            costs.append(facts.cost_usd(missing))
            models.append(facts.model)
    if not models:
        return
    known = [cost for cost in costs if cost is not None]
    limits = lanes[0].embedder
    check_budget(
        Estimate(texts, tokens, sum(known) if len(known) == len(costs) else None),
        model=" and ".join(models),
        max_tokens=limits.max_tokens,
        max_cost_usd=limits.max_cost_usd,
        way_out="raise it, or choose fewer queries in `evaluation`",
    )
    for lane in lanes:
        _embed(lane, queries)


def _missing(lane: Opened, queries: QuerySet) -> Iterator[list[str]]:
    space, settings = lane.space, lane.embedder.query_settings()
    for window in windows((query.text for query in queries), WINDOW):
        known = lane.batches.queries.read(space, settings, window)
        missing = [text for text in dict.fromkeys(window) if text not in known]
        if missing:
            yield missing


def _embed(lane: Opened, queries: QuerySet) -> None:
    facts = lane.embedder.facts()
    journal = lane.registry.ledger.journal(
        lane.lane,
        run=lane.run,
        provider=lane.space.provider,
        model=facts.model,
        usd_per_million=facts.usd_per_million,
    )
    with ExitStack() as stack:
        embedder: QueryEmbedder | None = None
        for window in _missing(lane, queries):
            if embedder is None:
                opened = stack.enter_context(
                    lane.embedder.open(None, lane.log, journal, lane.quota)
                )
                embedder = QueryEmbedder(opened)
            query_vectors(
                window,
                kept=lane.batches.queries,
                space=lane.space,
                settings=lane.embedder.query_settings(),
                embed=embedder.window,
            )
