"""Embed what a comparison needs and nobody has yet."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from math import fsum

from assets.work.evaluating.affording import Limits
from assets.work.evaluating.asking import Questions
from assets.work.evaluating.figures import Spending
from assets.work.evaluating.vectors import SpaceWork
from assets.work.opened import Opened
from resources.core.lane import Lane
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder


def pay(
    works: Collection[SpaceWork],
    questions: Collection[Questions],
    limits: Limits,
    *,
    run: str,
    log: Callable[[str], None],
) -> Spending:
    """Embed texts and queries, within the limits.

    Queries of remote models go first: they are few, and a provider that is out of reach, or does
    not know the model, is found before the documents of another candidate are paid for.

    Args:
        works: Texts, of each space.
        questions: Queries, of each space and each way of asking.
        limits: Of all together.
        run: Who pays, in the ledger.
        log: Takes lines of progress.

    Raises:
        ProviderError: A provider failed for good; what was finished before is kept.
        ConfigurationError: It came to cost more than allowed; likewise.
    """
    for each in questions:
        with _embedder(each.o, each.space, run, log) as embedder:
            if embedder.concurrent:
                each.embed(embedder, log)
    texts = tokens = 0
    costs: list[float | None] = []
    for work in works:
        asking = [each for each in questions if each.space.id == work.space.id]
        work.max_tokens = None if limits.tokens is None else limits.tokens - tokens
        spent_usd = fsum(cost for cost in costs if cost is not None)
        work.max_cost_usd = None if limits.usd is None else limits.usd - spent_usd
        with _embedder(work.o, work.space, run, log) as embedder:
            made = work.embed(embedder)
            for each in asking:
                if each.o is work.o:
                    each.embed(embedder, log)
        for each in asking:
            if each.o is not work.o:
                with _embedder(each.o, each.space, run, log) as embedder:
                    each.embed(embedder, log)
        if made.embedded + made.refused:
            texts += made.embedded
            tokens += made.tokens if made.tokens is not None else work.estimate.tokens
            free = work.o.embedder.facts().usd_per_million == 0
            costs.append(0.0 if free else made.cost_usd)
    for each in questions:
        if each.missing:
            tokens += each.tokens
            costs.append(each.cost_usd)
    costs += limits.reranking
    known = [cost for cost in costs if cost is not None]
    return Spending(texts, tokens, fsum(known) if len(known) == len(costs) else None)


@contextmanager
def _embedder(
    o: Opened, space: EmbeddingSpace, run: str, log: Callable[[str], None]
) -> Iterator[Embedder]:
    """Ready to embed, every request written down before it is sent."""
    facts = o.embedder.facts()
    journal = o.registry.ledger.journal(
        Lane(o.name, space.id),
        run=run,
        provider=space.provider,
        model=facts.model,
        usd_per_million=facts.usd_per_million,
    )
    with o.embedder.open(None, log, journal, o.quota) as embedder:
        yield embedder
