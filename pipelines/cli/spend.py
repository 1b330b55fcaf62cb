"""`embeddings spend`: what embedding and reranking took."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import moments
from pipelines.cli.options import AsJson, Configs, OnePipeline, say_unseen, sentences
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import say
from resources.core.days import ALWAYS, Days
from resources.core.errors import EmbeddingsError

if TYPE_CHECKING:
    from pipelines.operations.spending import Spending, Spent


class Key(StrEnum):
    DAY = "day"
    PIPELINE = "pipeline"
    MODEL = "model"


def spend(
    pipeline: OnePipeline = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All pipelines of the same deployment.")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moments.moment,
            metavar="DAY",
            help="From this day on, in UTC (2026-11-26), or so long ago (7d).",
        ),
    ] = None,
    month: Annotated[
        date | None,
        typer.Option(parser=moments.month, metavar="MONTH", help="One month, in UTC: 2026-11."),
    ] = None,
    by: Annotated[
        list[Key] | None,
        typer.Option("--by", help="What to tell apart; may be repeated. Default: all three."),
    ] = None,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Sum up what embedding and reranking took: tokens and money by day, pipeline and model.

    Without PIPELINE all pipelines of the project, each deployment's ledger counted once.
    """
    from pipelines.operations.spending import spending

    if since and month:
        raise typer.BadParameter("--since and --month exclude one another: give one of the two")
    days = Days.of_month(month) if month else Days(since.date()) if since else ALWAYS
    with sentences():
        found = spending(
            [pipeline] if pipeline else [],
            config or [],
            days=days,
            by=[key.value for key in by or Key],
            whole=everything,
        )
        if pipeline:
            for unseen in found.unseen.values():
                raise EmbeddingsError(unseen.why)
        if as_json:
            print_json(_as_document(found))
        else:
            _show(found, [key.value for key in Key if key in (by or Key)])
        say_unseen(found.unseen)


def _show(found: "Spending", keys: Sequence[str]) -> None:
    if not found.embedding:
        say("nothing was embedded then, or yet")
    else:
        _listing(found.embedding, found.embedding_total, keys).show()
        if unanswered := int(found.embedding_total["unanswered"]):
            say(
                "{requests:,} requests without an answer, at most {tokens:,} tokens as estimated: "
                "under way, or cut off by a kill or a time-out, so nobody knows whether they are "
                "billed",
                requests=unanswered,
                tokens=int(found.embedding_total["unanswered_tokens"]),
            )
    if found.reranking:  # apart: another kind of bill
        from assets.work.budget import dollars

        say("\nreranking")
        _listing(found.reranking, found.reranking_total, keys).show()
        if unbilled := int(found.reranking_total["unbilled"]):
            say(
                "{requests:,} requests of which the bill is not known (no answer came, or none "
                "that says it, as of `$rerank`): besides, {tokens:,} tokens and {cost} as "
                "estimated",
                requests=unbilled,
                tokens=int(found.reranking_total["unbilled_tokens"]),
                cost=dollars(found.reranking_total["unbilled_usd"]),
            )


def _listing(rows: "Sequence[Spent]", total: Mapping[str, float], keys: Sequence[str]) -> Listing:
    from assets.work.budget import dollars

    first, *others = keys
    listing = Listing(
        Column(first, total="total"),
        *others,
        *(
            Column(name, right=True, total=f"{int(total[name]):,}")
            for name in ("texts", "tokens", "requests")
        ),
        Column("cost", right=True, total=dollars(total["cost_usd"])),
    )
    for row in rows:
        counts = (f"{int(row.sums[name]):,}" for name in ("texts", "tokens", "requests"))
        listing.row(*(row.by[key] for key in keys), *counts, dollars(row.sums["cost_usd"]))
    return listing


def _as_document(found: "Spending") -> list[dict[str, Any]]:
    kinds = {"embedding": found.embedding, "reranking": found.reranking}
    return [{"kind": kind, **row.by, **row.sums} for kind, rows in kinds.items() for row in rows]
