"""The command `embeddings models`: what is known of models, to choose one by."""

from collections import Counter
from collections.abc import Container, Iterable
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pipelines.cli import models_for
from pipelines.cli.options import AsJson, Configs, ForPipeline, sentences
from pipelines.cli.terminal import Cell, Column, Listing, lines, print_json
from pipelines.framework.console import say, styled
from resources.models.kinds import kinds

if TYPE_CHECKING:
    from resources.models.catalogue import ModelEntry

_OWN = {"embed": "its own", "rerank": ""}


# Enums, because they are what every version of typer turns into a choice.
ProviderChoice = StrEnum("ProviderChoice", [(kind.upper(), kind) for kind in kinds()])


class StatusChoice(StrEnum):
    ACTIVE = "active"
    LEGACY = "legacy"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


def models(
    provider: Annotated[
        ProviderChoice | None,  # pyright: ignore[reportInvalidTypeForm]
        typer.Option(help="Only this provider's."),
    ] = None,
    max_price: Annotated[
        float | None,
        typer.Option(min=0, help="At most so many USD per million tokens; local models cost none."),
    ] = None,
    min_dims: Annotated[
        int | None, typer.Option(min=1, help="Can give vectors at least this wide.")
    ] = None,
    max_size: Annotated[
        float | None,
        typer.Option(min=0, help="Local models only, with at most so many GB of weights."),
    ] = None,
    status: Annotated[StatusChoice | None, typer.Option(help="Only models in this state.")] = None,
    local: Annotated[
        bool | None,
        typer.Option("--local/--hosted", help="Only what runs here, or elsewhere."),
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Models that rerank, not those that embed.")
    ] = False,
    pipeline: ForPipeline = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="With --for: read at most so many records of its source."),
    ] = None,
    config: Configs = None,
    as_json: AsJson = False,
) -> None:
    """List embedding models with their widths, limits, prices and states; or those that rerank.

    A file named by EMBEDDINGS_MODELS adds your own models and prices.
    """
    from resources.models.catalogue import load_catalogue

    if pipeline is None and (sample or config):
        raise typer.BadParameter("`--sample` and `-c` belong to `--for PIPELINE`")
    if pipeline is not None and rerank:
        raise typer.BadParameter("`--for` ranks models that embed: leave out `--rerank`")
    with sentences():
        choose = partial(
            chosen,
            provider=provider,
            max_price=max_price,
            min_dims=min_dims,
            max_size=max_size,
            status=status,
            local=local,
        )
        if pipeline is not None:
            models_for.models_for(pipeline, config or [], sample, choose, as_json=as_json)
            return
        known = load_catalogue().values()
        entries = [entry for entry in known if entry.task == ("rerank" if rerank else "embed")]
        found = choose(entries)
        if as_json:
            print_json([as_document(entry) for entry in found])
        elif not found:
            say("none of the {count} models is like that", count=len(entries))
        else:
            families = Counter(entry.space for entry in entries)
            listing(found, {space for space, members in families.items() if members > 1}).show()
            say(
                "[dim]{found} of {count} models; list prices of the month below them; -: not known."
                "\nScores of different benchmarks do not compare; --json names every source.[/dim]",
                found=len(found),
                count=len(entries),
            )


def chosen(
    entries: "Iterable[ModelEntry]",
    *,
    provider: str | None = None,
    max_price: float | None = None,
    min_dims: int | None = None,
    max_size: float | None = None,
    status: str | None = None,
    local: bool | None = None,
) -> "list[ModelEntry]":
    """The models that pass every filter, active ones first, else by provider and as written.

    A model whose price or size is not known does not pass a filter on it.
    """
    from resources.models.catalogue import STATUSES

    def passes(entry: "ModelEntry") -> bool:
        price = entry.usd_per_million
        weights = entry.size.gigabytes if entry.local and entry.size else None
        return (
            (provider is None or entry.provider == provider)
            and (max_price is None or (price is not None and price <= max_price))
            and (min_dims is None or max(entry.dimensions, default=0) >= min_dims)
            and (max_size is None or (weights is not None and weights <= max_size))
            and (status is None or entry.state() == status)
            and (local is None or entry.local == local)
        )

    def rank(entry: "ModelEntry") -> tuple[int, int]:
        return STATUSES.index(entry.state()), kinds().index(entry.provider)

    return sorted(filter(passes, entries), key=rank)


def as_document(entry: "ModelEntry") -> dict[str, Any]:
    return entry.model_dump(exclude_none=True) | {"status": entry.state()}


def listing(entries: "Iterable[ModelEntry]", shared_spaces: Container[str] = ()) -> Listing:
    made = Listing(
        Column("model", style="bold"),
        "dims",
        Column("max\ntokens", right=True),
        Column("$ per\nmillion", right=True),
        Column("size", right=True),
        "score",
        "status",
        "space",
    )
    for entry in entries:
        shared = entry.space != entry.model or entry.space in shared_spaces
        made.row(
            _name(entry),
            _dimensions(entry),
            f"{entry.max_tokens:,}" if entry.max_tokens else "-",
            _price(entry),
            _size(entry),
            f"{entry.score.benchmark} {entry.score.value:g}" if entry.score else "-",
            entry.state(),
            entry.space if shared else styled("[dim]{own}[/dim]", own=_OWN[entry.task]),
            style="" if entry.state() == "active" else "dim",
        )
    return made


def _name(entry: "ModelEntry") -> Text:
    if not entry.successor:
        return styled("{model}", model=entry.model)
    return lines(
        [entry.model, styled("[not bold]→ {successor}[/not bold]", successor=entry.successor)]
    )


def _dimensions(entry: "ModelEntry") -> Cell:
    if not entry.dimensions:
        return ""
    default, narrowest, widest = entry.dimensions[0], min(entry.dimensions), max(entry.dimensions)
    if entry.shrinkable:
        return lines([f"{default}", "or less"])
    some = len(entry.dimensions) > 1
    return lines([f"{default}", f"{narrowest}-{widest}"]) if some else str(default)


def _price(entry: "ModelEntry") -> Cell:
    if entry.local:
        return "local"
    price = entry.price
    return lines([f"{price.usd_per_million:.2f}", price.date[:7]]) if price else "-"


def _size(entry: "ModelEntry") -> str:
    if entry.size is None:
        return "" if not entry.local else "-"
    if entry.size.gigabytes is not None:
        return f"{entry.size.gigabytes:g} GB"
    return f"{entry.size.parameters / 1e6:,.0f} M" if entry.size.parameters else "-"
