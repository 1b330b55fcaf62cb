"""`embeddings lineage --model`: who rests on a model, and what comes next."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli.options import say_unseen
from pipelines.cli.terminal import Column, Listing, lines, print_json
from pipelines.framework.console import say, styled

if TYPE_CHECKING:
    from pipelines.operations.lineage import Withdrawal


def show_or_print(
    model: str,
    names: Sequence[str],
    config: Sequence[str | Path],
    *,
    to: str | None,
    as_json: bool,
) -> None:
    """The answer, and why something is left out of it."""
    from pipelines.operations.lineage import withdrawal

    found = withdrawal(model, names, config, to=to)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        show(found)
    say_unseen(found.unseen)


def show(found: "Withdrawal") -> None:
    from assets.work.budget import dollars
    from resources.core.progress import duration

    for each in found.models:
        dates = [f"deprecated on {each.deprecated}"] if each.deprecated else []
        dates += [f"switched off on {each.retired}"] if each.retired else []
        say(
            "[bold]{provider}/{model}[/bold]: {state}{dates}{after}",
            provider=each.provider,
            model=each.model,
            state=each.state or "not in the catalogue",
            dates=f" ({', '.join(dates)})" if dates else "",
            after=f"; its maker recommends {each.successor}" if each.successor else "",
        )
    if not found.resting:
        say("no vector here was made by {asked}", asked=found.asked)
        if found.known:
            say("[dim]there are vectors of {known}[/dim]", known=", ".join(found.known))
        return
    if not found.exact:
        say(
            "[dim]no model is called {asked}: these have it in their names[/dim]", asked=found.asked
        )
    listing = Listing(
        "pipeline and store",
        "model and space",
        "state",
        Column("vectors", right=True),
        "successor",
        Column("tokens", right=True),
        Column("cost", right=True),
        Column("takes", right=True),
    )
    for row in found.resting:
        after = row.successor or "none is known"
        cost = "?" if row.cost_usd is None else dollars(row.cost_usd) if row.cost_usd else "$0"
        takes = "?" if row.seconds is None else duration(row.seconds)
        if row.same_space:
            after, cost, takes = f"{after}, in the same space", "-", "-"
        listing.row(
            lines(
                [
                    row.pipeline + ("" if row.in_code else ", no longer in code"),
                    styled("[dim]{store}[/dim]", store=row.store),
                ]
            ),
            lines([row.model, styled("[dim]{space}[/dim]", space=row.space)]),
            row.state,
            ("" if row.counted else "about ") + f"{row.vectors:,}",
            after,
            "?" if row.tokens is None else f"{row.tokens:,}",
            cost,
            takes,
        )
    listing.show()
    total = sum(row.vectors for row in found.resting)
    serving = sum(row.vectors for row in found.resting if row.state == "serving")
    say(
        "[dim]{total:,} vectors, {serving:,} of them in spaces that serve; tokens as the old model "
        "counted them, at list price; ?: not known here (no run of the successor yet, no price, or "
        "no tokens counted)[/dim]",
        total=total,
        serving=serving,
    )
