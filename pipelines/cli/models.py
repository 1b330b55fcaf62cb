"""The command `embeddings models`: what is known of models, to choose one by."""

import json
import sys
from collections import Counter
from collections.abc import Container, Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.framework.console import console, errors
from resources.core.errors import EmbeddingsError
from resources.models.catalogue import STATUSES, ModelEntry, load_catalogue
from resources.models.kinds import kinds

_NAME_WIDTH = 31
_OWN = {"embed": "its own", "rerank": ""}


# Enums, because they are what every version of typer turns into a choice.
ProviderChoice = StrEnum("ProviderChoice", [(kind.upper(), kind) for kind in kinds()])


class StatusChoice(StrEnum):
    ACTIVE = "active"
    LEGACY = "legacy"
    DEPRECATED = "deprecated"


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every source.")] = False,
) -> None:
    """List embedding models with their widths, limits, prices and states; or those that rerank.

    A file named by EMBEDDINGS_MODELS adds your own models and prices.
    """
    try:
        known = load_catalogue().values()
    except EmbeddingsError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from error
    entries = [entry for entry in known if entry.task == ("rerank" if rerank else "embed")]
    found = chosen(
        entries,
        provider=provider,
        max_price=max_price,
        min_dims=min_dims,
        max_size=max_size,
        status=status,
        local=local,
    )
    if as_json:
        # For programs: no colours, no wrapping.
        rows = [as_document(entry) for entry in found]
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    elif not found:
        console.print(f"none of the {len(entries)} models is like that")
    else:
        families = Counter(entry.space for entry in entries)
        console.print(table(found, {space for space, members in families.items() if members > 1}))
        console.print(
            f"[dim]{len(found)} of {len(entries)} models; list prices of the month below them; "
            "-: not known.\nScores of different benchmarks do not compare; --json names every "
            "source.[/dim]"
        )


def chosen(
    entries: Iterable[ModelEntry],
    *,
    provider: str | None = None,
    max_price: float | None = None,
    min_dims: int | None = None,
    max_size: float | None = None,
    status: str | None = None,
    local: bool | None = None,
) -> list[ModelEntry]:
    """The models that pass every filter, active ones first, else by provider and as written.

    A model whose price or size is not known does not pass a filter on it.
    """

    def passes(entry: ModelEntry) -> bool:
        price = entry.usd_per_million
        weights = entry.size.gigabytes if entry.local and entry.size else None
        return (
            (provider is None or entry.provider == provider)
            and (max_price is None or (price is not None and price <= max_price))
            and (min_dims is None or max(entry.dimensions, default=0) >= min_dims)
            and (max_size is None or (weights is not None and weights <= max_size))
            and (status is None or entry.status == status)
            and (local is None or entry.local == local)
        )

    def rank(entry: ModelEntry) -> tuple[int, int]:
        return STATUSES.index(entry.status), kinds().index(entry.provider)

    return sorted(filter(passes, entries), key=rank)


def as_document(entry: ModelEntry) -> dict[str, Any]:
    return entry.model_dump(exclude_none=True)


def table(entries: Iterable[ModelEntry], shared_spaces: Container[str] = ()) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("model", max_width=_NAME_WIDTH, overflow="fold")
    made.add_column("dims")
    made.add_column("max\ntokens", justify="right")
    made.add_column("$ per\nmillion", justify="right")
    made.add_column("size", justify="right", no_wrap=True)
    made.add_column("score", max_width=12)
    made.add_column("status")
    made.add_column("space", max_width=12, overflow="fold")
    for entry in entries:
        shared = entry.space != entry.model or entry.space in shared_spaces
        made.add_row(
            _name(entry),
            _dimensions(entry),
            f"{entry.max_tokens:,}" if entry.max_tokens else "-",
            _price(entry),
            _size(entry),
            # A Text, as all that may be the user's own: brackets in it are no markup.
            Text(f"{entry.score.benchmark} {entry.score.value:g}" if entry.score else "-"),
            entry.status,
            Text(entry.space) if shared else Text(_OWN[entry.task], style="dim"),
            style="" if entry.status == "active" else "dim",
        )
    return made


def _name(entry: ModelEntry) -> Text:
    name = Text(_fitting(entry.model), style="bold")
    if entry.successor:
        # The same owner need not be named twice.
        owner = entry.model.rpartition("/")[0] + "/"
        name.append(f"\n→ {entry.successor.removeprefix(owner)}", style="not bold")
    return name


def _fitting(name: str) -> str:
    """Broken after the owner rather than anywhere."""
    owner, slash, rest = name.partition("/")
    return f"{owner}/\n{rest}" if slash and len(name) > _NAME_WIDTH else name


def _dimensions(entry: ModelEntry) -> str:
    if not entry.dimensions:
        return ""
    default, narrowest, widest = entry.dimensions[0], min(entry.dimensions), max(entry.dimensions)
    if entry.shrinkable:
        return f"{default}\nor less"
    return f"{default}\n{narrowest}-{widest}" if len(entry.dimensions) > 1 else str(default)


def _price(entry: ModelEntry) -> str:
    if entry.local:
        return "local"
    return f"{entry.price.usd_per_million:.2f}\n{entry.price.date[:7]}" if entry.price else "-"


def _size(entry: ModelEntry) -> str:
    if entry.size is None:
        return "" if not entry.local else "-"
    if entry.size.gigabytes is not None:
        return f"{entry.size.gigabytes:g} GB"
    return f"{entry.size.parameters / 1e6:,.0f} M" if entry.size.parameters else "-"
