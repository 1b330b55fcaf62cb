"""What a comparison is going to cost, and whether it may: all candidates together."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from assets.work.budget import Estimate, check_budget, dollars
from assets.work.evaluating.asking import Questions
from assets.work.evaluating.candidates import Candidate
from assets.work.evaluating.sample import Sample
from assets.work.evaluating.variants import Variant
from assets.work.evaluating.vectors import SpaceWork
from resources.embedders.packing import CHARACTERS_PER_TOKEN, estimate_tokens


@dataclass(frozen=True)
class Limits:
    """Of all that is spent; None where there is none.

    Attributes:
        reranking: What that is estimated to cost, for each candidate that pays for it.
    """

    tokens: int | None
    usd: float | None
    reranking: Sequence[float | None] = ()


def afford(
    candidates: Sequence[Candidate],
    variants: Mapping[int, Sequence[Variant]],
    works: Collection[SpaceWork],
    questions: Collection[Questions],
    sample: Sample,
    *,
    max_cost_usd: float | None,
    said: Callable[[str], None],
) -> Limits:
    """Say what it will cost, and refuse what is too much.

    Args:
        candidates: Whose embedders have limits, each of which holds for all together.
        variants: Of each candidate, by its number.
        works: Texts to embed.
        questions: Queries to embed.
        sample: That is measured on.
        max_cost_usd: One more limit.
        said: Told what costs something.

    Raises:
        ConfigurationError: It is over a limit, or a price is not known; nothing is spent.
    """
    tokens, models = 0, dict[str, None]()
    costs: list[float | None] = []
    reranking: list[float | None] = []
    for work in works:
        if work.estimate.texts:
            model = work.o.embedder.facts().model
            models[model] = None
            tokens += work.estimate.tokens
            costs.append(work.estimate.cost_usd)
            if work.estimate.cost_usd != 0:
                said(f"to embed with {model}: {work.estimate}")
    for each in questions:
        if each.missing:
            models[each.model] = None
            tokens += each.tokens
            costs.append(each.cost_usd)
            if each.cost_usd != 0:
                said(f"to embed {each.missing:,} queries with {each.model}: {each}")
    for number, candidate in enumerate(candidates):
        reread = _reranking(candidate, variants[number], sample)
        if reread is not None:
            models[str(candidate.reranker.facts())] = None
            reranking.append(reread.cost_usd)
            said(f"to rerank for {candidate.name}: {reread}")
    costs += reranking
    known = [cost for cost in costs if cost is not None]
    total = fsum(known) if len(known) == len(costs) else None
    if total:
        said(f"in all about {dollars(total)}")
    embedders = [each.o.embedder for each in candidates]
    caps = [each.max_cost_usd for each in embedders if each.max_cost_usd is not None]
    caps += [] if max_cost_usd is None else [max_cost_usd]
    most = [each.max_tokens for each in embedders if each.max_tokens is not None]
    limits = Limits(min(most, default=None), min(caps, default=None), reranking)
    texts = sum(work.estimate.texts for work in works) + sum(each.missing for each in questions)
    check_budget(
        # A reranker alone costs something too.
        Estimate(texts or len(costs), tokens, total),
        model=" and ".join(models),
        max_tokens=limits.tokens,
        max_cost_usd=limits.usd,
        way_out="raise it, take a smaller sample, or compare fewer candidates",
    )
    return limits


def _reranking(
    candidate: Candidate, variants: Sequence[Variant], sample: Sample
) -> Estimate | None:
    """Of all queries' candidates; None where it costs nothing."""
    times = sum(each.reranked for each in variants)
    facts = candidate.reranker.facts()
    if not times or not facts.paid:
        return None
    read = min(candidate.reranker.candidates, sample.drawn.documents)
    characters, pieces = sample.db.execute(
        "SELECT sum(length(text)), count(*) FROM pieces"
    ).fetchone()
    each = (characters or 0) / max(1, pieces) / CHARACTERS_PER_TOKEN
    queries = asked = 0
    for window in sample.queries(1_000):
        queries += len(window)
        asked += sum(estimate_tokens(query.text) for query in window)
    tokens = times * round(read * (asked + queries * each))
    return Estimate(times * queries * read, tokens, facts.cost_usd(tokens))
