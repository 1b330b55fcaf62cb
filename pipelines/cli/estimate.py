"""`embeddings estimate`: what a corpus of a size would take, before there is any of it."""

import dataclasses
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer

from pipelines.cli.options import AsJson, sentences
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.operations.estimate import Estimated
    from resources.core.vectors import Dtype


class DtypeChoice(StrEnum):
    FLOAT32 = "float32"
    INT8 = "int8"
    PACKED_BIT = "packed_bit"
    ARRAY = "array"


def _count(text: str | float) -> int:
    """`1000000`, `1e6`, `1_000_000` or `1,000,000`."""
    try:
        value = float(str(text).replace(",", "").replace("_", ""))
        whole = int(value)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no number: write 1000000, or 1e6") from error
    if whole < 1 or whole != value:
        raise typer.BadParameter(f"{text} is no whole number above 0")
    return whole


def estimate(
    documents: Annotated[
        int, typer.Option(parser=_count, metavar="N", help="Of the source: 1000000, or 1e6.")
    ],
    tokens: Annotated[float, typer.Option(min=1, help="Of a document, on average.")],
    model: Annotated[str, typer.Option(help="As `embeddings models` names it.", metavar="MODEL")],
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Of its vectors; default: the model's own.")
    ] = None,
    dtype: Annotated[
        DtypeChoice, typer.Option(help="Of the stored vectors.")
    ] = DtypeChoice.FLOAT32,
    chunks: Annotated[
        float, typer.Option(min=1, help="That a document is cut into, on average.")
    ] = 1.0,
    shards: Annotated[int, typer.Option(min=1, help="That the pipeline is split into.")] = 1,
    machines: Annotated[int, typer.Option(min=1, help="That work at once.")] = 1,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(min=1, help="Of your account; default: as published, for its first tier."),
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(parser=_count, metavar="N", help="Likewise.")
    ] = None,
    texts_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="That a machine embeds of a local model.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Find out how many that are, on this machine.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a corpus would take: tokens, money, hours, bytes, memory. Asks nobody."""
    from pipelines.operations.estimate import Corpus, find_model
    from pipelines.operations.estimate import estimate as estimated

    if measure and texts_per_second is not None:
        raise typer.BadParameter("--measure finds out what --texts-per-second says: give one")
    with sentences():
        rate = texts_per_second
        if measure:
            from pipelines.operations.measured_rate import texts_per_second as measured

            rate = measured(find_model(model), tokens / chunks)
        found = estimated(
            Corpus(
                documents, tokens, model, dimensions, cast("Dtype", dtype.value), chunks, shards,
                machines, requests_per_minute, tokens_per_minute, rate,
            )
        )  # fmt: skip
        if as_json:
            print_json(dataclasses.asdict(found))
        else:
            show(found)


class Row(NamedTuple):
    what: str
    figure: str
    made_of: str


def show(found: "Estimated") -> None:
    corpus = found.corpus
    say(
        "[bold]{model}[/bold], {dimensions} dimensions, {dtype}: what {documents} documents would "
        "take",
        model=found.model,
        dimensions=found.dimensions,
        dtype=corpus.dtype,
        documents=f"{corpus.documents:,}",
    )
    made = Listing(Column("", style="bold"), Column("figure", right=True), Column("", prose=True))
    for row in rows(found):
        made.row(*row)
    made.show()
    for note in found.notes:
        say("[yellow]{note}[/yellow]", note=note)
    if found.prices:
        say("[dim]{prices}[/dim]", prices=found.prices)
    say("[dim]what each line is made of, and how far it holds: docs/scale.md[/dim]")


def rows(found: "Estimated") -> Iterator[Row]:
    """The lines of the table."""
    from assets.work.budget import dollars
    from resources.core.progress import size

    corpus = found.corpus
    yield Row("texts", f"{found.texts:,}", "to embed and to store")
    yield Row("tokens", f"{found.tokens:,}", f"{corpus.tokens:g} of a document")
    yield Row("cost", dollars(found.cost_usd), "at list price")
    if found.batch_cost_usd is not None:
        yield Row("cost by batch jobs", dollars(found.batch_cost_usd), "`mode: batch`")
    limited = f"by {found.limited_by}" if found.limited_by else "not known, see below"
    if found.requests is not None:
        yield Row("requests", f"{found.requests:,}", "at least one for each embedding batch")
    yield Row("embedding", _time(found.provider_seconds), limited)
    yield Row(
        "own work", _time(found.own_seconds),
        f"of the first run beside that: {_times(corpus.machines, 'machine')}, "
        f"{_times(corpus.shards, 'shard')}",
    )  # fmt: skip
    yield Row("nothing changed", _time(found.unchanged_seconds), "a later run, in one process")
    yield Row("vector", _small(found.vector), f"one, as {corpus.dtype}")
    yield Row("lineage", _small(found.lineage), "beside each vector")
    yield Row("collection", size(found.stored), "vectors, texts, lineage, before compression")
    yield Row(
        "batches", size(found.batches), f"{found.batch_files:,} files of {found.batch_texts} texts"
    )
    yield Row("plan", size(found.plan), "of the first run, beside the batches")
    yield Row("working file", size(found.planner), "of the first run, on the disk of one machine")
    yield Row("working file, nothing changed", size(found.planner_unchanged), "of a later run")
    yield Row(
        "local index", size(found.local_index),
        f"memory of each that searches, and {size(found.local_index_ids)} of ids",
    )  # fmt: skip
    yield Row("local index, building", _time(found.local_index_seconds), "from nothing, at least")
    for quantization, held in found.search_nodes.items():
        where = held.tier if held.clusters == 1 else f"{held.clusters:,} shards of {held.tier}"
        name = "Vector Search" if quantization == "none" else f"Vector Search, {quantization}"
        yield Row(name, size(held.bytes), f"memory: {where}, beside mongod")
    if corpus.shards > 1:
        yield Row("of a shard", f"{found.shard_texts:,}", f"texts, {found.shard_batches:,} batches")


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _small(count: int) -> str:
    return f"{count:,} B"


def _time(seconds: float | None) -> str:
    """`40 s`, `12 min`, `5.6 hours`, `1,234 hours`."""
    if seconds is None:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours < 100 else f"{hours:,.0f} hours"
