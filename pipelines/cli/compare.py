"""`embeddings compare`: one question to two spaces of a pipeline."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import AsJson, Configs, Pipeline, collect_from_now_on, mql, sentences
from pipelines.cli.terminal import Column, Listing, facts, print_json, shortened
from pipelines.framework.console import say, styled

if TYPE_CHECKING:
    from pipelines.operations.spaces.comparing import Comparison, Side


def compare(
    pipeline: Pipeline,
    asked: Annotated[
        list[str],
        typer.Argument(
            help="What to look for, and before it the spaces A and B: their ids, or how these "
            "begin. Default: the one that serves, and the newest other one.",
            metavar="[A] [B] QUERY",
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, help="So many documents of each.")] = 10,
    filter: Annotated[  # noqa: A002
        str | None, typer.Option(help="MQL as JSON over the index's filter fields.")
    ] = None,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Ask two spaces of a pipeline one question, and see both rankings side by side."""
    from pipelines.operations.spaces.comparing import compare as compared

    # The model's library is still to be imported.
    with sentences(collecting=False):
        *spaces, query = asked
        if len(spaces) > 2:
            raise typer.BadParameter(
                f"{len(asked)} values: two spaces at most, and one question in quotes",
                param_hint="[A] [B] QUERY",
            )
        # Of one that is named alone, the other is the one that serves.
        a, b = (None, None, *spaces)[-2:]
        found = compared(
            pipeline, query, a, b, limit=limit, filter=mql(filter), overrides=config or []
        )
        collect_from_now_on()
        if as_json:
            print_json(_as_json(found))
        else:
            show(found)


def show(found: "Comparison") -> None:
    from resources.core.keys import shown

    say("\n[bold]{query}[/bold]", query=found.query)
    facts({"A": _side(found.a), "B": _side(found.b)})
    listing = Listing(
        Column("A", right=True),
        Column("B", right=True),
        Column("score A", right=True),
        Column("score B", right=True),
        "document",
        Column("text", prose=True),
    )
    for row in found.rows:
        listing.row(
            *(str(rank or "-") for rank in row.ranks),
            *("-" if score is None else f"{score:.4f}" for score in row.scores),
            shown(row.source_id),
            shortened(row.text, 120),
        )
    if found.rows:
        listing.show()
    else:
        say("nothing found in either\n")
    only = found.only
    say(
        "overlap@10 [bold]{overlap:.2f}[/bold] · {both} in both, {a} only in A, {b} only in B · "
        "Kendall's tau {tau}",
        overlap=found.overlap,
        both=found.both,
        a=only[0],
        b=only[1],
        tau="-" if found.kendall_tau is None else f"{found.kendall_tau:.2f}",
    )
    for note in dict.fromkeys([*found.a.notes, *found.b.notes]):
        say("[yellow]{note}[/yellow]", note=note)


def _side(side: "Side") -> Any:
    return styled(
        "{space} [dim]({state}, engine {engine}, {milliseconds:,.1f} ms)[/dim]",
        space=side.space,
        state=side.state,
        engine=side.engine,
        milliseconds=side.seconds * 1000,
    )


def _as_json(found: "Comparison") -> dict[str, Any]:
    from dataclasses import asdict

    from pipelines.operations.search.as_json import jsonable

    return {
        "pipeline": found.pipeline,
        "query": found.query,
        "limit": found.limit,
        "a": asdict(found.a),
        "b": asdict(found.b),
        "overlap@10": found.overlap,
        "kendall_tau": found.kendall_tau,
        "both": found.both,
        "only_a": found.only[0],
        "only_b": found.only[1],
        "rows": [
            {
                "source_id": jsonable(row.source_id),
                "rank_a": row.ranks[0],
                "rank_b": row.ranks[1],
                "score_a": row.scores[0],
                "score_b": row.scores[1],
                "text": row.text,
            }
            for row in found.rows
        ],
    }
