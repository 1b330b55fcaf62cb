"""`embeddings spend`: what embedding and reranking took."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import AsJson, Configs, Pipeline, sentences
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from resources.registry.ledger import Spend
    from resources.registry.reranking import RerankSpend


def spend(
    pipeline: Pipeline,
    everything: Annotated[
        bool, typer.Option("--all", help="All pipelines of the same deployment.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Sum up what embedding and reranking took: tokens and money by day, pipeline and model."""
    from pipelines.framework.catalog import open_pipeline

    with sentences():
        with open_pipeline(pipeline, config or []) as opened:
            whose = None if everything else opened.name
            embedded = opened.registry.ledger.spend(whose)
            reranked = opened.registry.reranked.spend(whose)
        if as_json:
            found = {"embedding": embedded, "reranking": reranked}
            print_json(
                [
                    {"kind": kind, **dataclasses.asdict(row)}
                    for kind, rows in found.items()
                    for row in rows
                ]
            )
        else:
            show(embedded)
            show_reranked(reranked)


def show(rows: "Sequence[Spend]") -> None:
    if not rows:
        say("nothing has been embedded yet")
        return
    _listing(rows).show()
    if unanswered := sum(row.unanswered for row in rows):
        say(
            "{requests:,} requests without an answer, at most {tokens:,} tokens as estimated: "
            "under way, or cut off by a kill or a time-out, so nobody knows whether they are "
            "billed",
            requests=unanswered,
            tokens=sum(row.unanswered_tokens for row in rows),
        )


def show_reranked(rows: "Sequence[RerankSpend]") -> None:
    """What reranking took, apart from embedding; nothing where nothing was."""
    from assets.work.budget import dollars

    if not rows:
        return
    say("\nreranking")
    _listing(rows).show()
    if unbilled := sum(row.unbilled for row in rows):
        say(
            "{requests:,} requests of which the bill is not known (no answer came, or none that "
            "says it, as of `$rerank`): besides, {tokens:,} tokens and {cost} as estimated",
            requests=unbilled,
            tokens=sum(row.unbilled_tokens for row in rows),
            cost=dollars(sum(row.unbilled_usd for row in rows)),
        )


def _listing(rows: "Sequence[Spend] | Sequence[RerankSpend]") -> Listing:
    from assets.work.budget import dollars

    def number(name: str) -> Column:
        return Column(name, right=True, total=f"{sum(getattr(row, name) for row in rows):,}")

    cost = dollars(sum(row.cost_usd for row in rows))
    listing = Listing(
        Column("day", total="total"),
        "pipeline",
        "model",
        *map(number, ("texts", "tokens", "requests")),
        Column("cost", right=True, total=cost),
    )
    for row in rows:
        numbers = (f"{getattr(row, name):,}" for name in ("texts", "tokens", "requests"))
        listing.row(row.day, row.pipeline, row.model, *numbers, dollars(row.cost_usd))
    return listing
