"""`embeddings models --for`: the models, ranked for one pipeline's texts."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from pipelines.cli.terminal import Cell, Column, Listing, facts, lines, paragraph, print_json
from pipelines.framework.console import say, styled

if TYPE_CHECKING:
    from assets.work.lengths import Corpus
    from pipelines.operations.models_for import Choice, Choose, Ranked


def models_for(
    pipeline: str, config: Sequence[Any], sample: int | None, choose: "Choose", *, as_json: bool
) -> None:
    from pipelines.operations.models_for import models_for as ranked

    found = ranked(pipeline, config, sample=sample, choose=choose)
    if as_json:
        print_json(as_document(found))
    else:
        show(found)


def as_document(found: "Choice") -> dict[str, Any]:
    return {
        "pipeline": found.pipeline,
        "corpus": _corpus_document(found.corpus) if found.corpus else None,
        "asked": found.asked,
        "rule": found.rule,
        "notes": list(found.notes),
        "models": [_document(place, each) for place, each in enumerate(found.models, 1)],
    }


def _corpus_document(corpus: "Corpus") -> dict[str, Any]:
    return {
        "documents": corpus.documents,
        "rejected": corpus.rejected,
        "rejected_why": corpus.why,
        "whole": corpus.whole,
        "chunks": corpus.chunks,
        "characters": corpus.characters,
        "longest_characters": corpus.longest,
        "distinct_texts": corpus.distinct,
        "distinct_texts_are_estimated": corpus.sampled,
        "lengths_looked_at": len(corpus.texts),
    }


def _document(place: int, each: "Ranked") -> dict[str, Any]:
    values = {name.name: getattr(each, name.name) for name in dataclasses.fields(each)}
    entry, figure = values.pop("entry"), values.pop("figure")
    values["measured"] = [
        {**dataclasses.asdict(one), "ranks": one is figure} for one in each.measured
    ]
    return {"rank": place, **entry.model_dump(exclude_none=True), **values}


def show(found: "Choice") -> None:
    say("[bold]{pipeline}[/bold]: models for its texts", pipeline=found.pipeline)
    facts([*(_read(found.corpus) if found.corpus else []), ("its index asks", found.asked)])
    if found.models:
        listing(found.models).show()
        for line in (found.rule, _below(found)):
            paragraph(styled("[dim]{line}[/dim]", line=line), indent=0)
    else:
        say("none of the models is like that")
    for each in found.models:
        if each.refused:
            say("[yellow]{model}: {why}[/yellow]", model=each.entry.model, why=each.refused)
    for note in found.notes:
        say("[yellow]{note}[/yellow]", note=note)


def _read(corpus: "Corpus") -> list[tuple[str, str]]:
    about = "about " if corpus.sampled else ""
    texts = f"{corpus.chunks:,} to store, {about}{corpus.distinct:,} distinct"
    if corpus.chunks:
        average = corpus.characters / corpus.chunks
        texts += f", {average:,.0f} characters on average, {corpus.longest:,} at most"
    read = f"{corpus.documents:,} documents"
    if corpus.rejected:
        read += f"; records that cannot be embedded: {corpus.rejected:,} ({corpus.why})"
    if not corpus.whole:
        read += "; the source has more, which `--sample` left out of all figures"
    return [("read", read), ("texts", texts)]


def _below(found: "Choice") -> str:
    said = []
    if found.corpus is not None:
        counted = dict.fromkeys(each.counted_by for each in found.models if each.counted_by)
        by = f"by what {', '.join(counted)} counted of them" if counted else "at 3 characters each"
        said = [f"Tokens are estimated {by}; costs are of all distinct texts, at list price, bytes "
                "of all vectors."]  # fmt: skip
    return " ".join([*said, "-: not known."])


def listing(models: "Sequence[Ranked]") -> Listing:
    made = Listing(
        Column("model", style="bold"),
        Column("measured\nhere", right=True),
        Column("too\nlong", right=True),
        Column("cost", right=True),
        Column("bytes", right=True),
        Column("dims", right=True),
        "score",
        "status",
    )
    for each in models:
        dim = each.refused or each.entry.state() != "active"
        made.row(
            _name(each),
            _measured(each),
            "-" if each.too_long is None else _share(each.too_long),
            _cost(each),
            *_bytes(each),
            _score(each),
            each.entry.state(),
            style="dim" if dim else "",
        )
    return made


def _name(each: "Ranked") -> Text:
    said: list[Cell] = [styled("{model}", model=each.entry.model)]
    if each.entry.successor:
        said.append(styled("[not bold]→ {name}[/not bold]", name=each.entry.successor))
    if each.serves:
        said.append(styled("[not bold]its own now[/not bold]"))
    elif each.same_space:
        said.append(styled("[not bold]the space it has now[/not bold]"))
    if each.refused:
        said.append(styled("[not bold]refused, see below[/not bold]"))
    return lines(said)


def _measured(each: "Ranked") -> Cell:
    if not each.measured:
        return "-"
    shown = each.figure or each.measured[0]
    figures = [f"{shown.mean:.4f}", f"{shown.low:.3f}-{shown.high:.3f}", f"{shown.at:%Y-%m-%d}"]
    if each.figure is None:
        figures.append("ranks nothing")
    return lines(figures)


def _share(share: float) -> str:
    if not share:
        return "none"
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _cost(each: "Ranked") -> Cell:
    from assets.work.budget import dollars

    if each.cost_usd is None:
        return "-"
    if each.batch_cost_usd is None:
        return dollars(each.cost_usd)
    return lines([dollars(each.cost_usd), f"{dollars(each.batch_cost_usd)} batch"])


def _bytes(each: "Ranked") -> tuple[str, str]:
    """Of all vectors, and the dimensions that these have."""
    from resources.core.progress import size

    for dimensions, count in each.bytes.items():
        return size(count) if count else "-", str(dimensions)
    return "-", "-"


def _score(each: "Ranked") -> str:
    score = each.entry.score
    return f"{score.benchmark} {score.value:g}" if score else "-"
