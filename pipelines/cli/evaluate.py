"""`embeddings evaluate`: models, widths, formats, prompts, chunkers side by side, on a sample."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import AsJson, Pipeline, config_names, progress_apart, sentences
from pipelines.cli.search import ModeChoice
from pipelines.cli.terminal import Column, Listing, paragraph, print_json, shortened
from pipelines.framework.console import console, errors, say, styled

if TYPE_CHECKING:
    from assets.work.evaluating.figures import Compared, Row

PLUS = "+"


class MeasureChoice(StrEnum):
    NDCG = "ndcg@10"
    RECALL_10 = "recall@10"
    RECALL_100 = "recall@100"
    MRR = "mrr@10"
    SUCCESS = "success@1"


def evaluate(
    pipeline: Pipeline,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            "-c",
            "--candidate",
            help="YAML run config on top of the pipeline's own: one candidate. May be repeated; "
            "a.yaml+b.yaml is one candidate of two files.",
            autocompletion=config_names,
        ),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config",
            help="YAML run config merged on top for every candidate, such as a deployment.",
            autocompletion=config_names,
        ),
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            min=1,
            help="Source documents to measure on: all that the queries call relevant, and others.",
        ),
    ] = 2_000,
    dimensions: Annotated[
        str, typer.Option(help="Widths beside each candidate's own: 512,256.", metavar="N,…")
    ] = "",
    format: Annotated[  # noqa: A002
        str,
        typer.Option(
            help="Formats beside each candidate's own: float32, array, int8, packed_bit, "
            "packed_bit+int8 (rescored), packed_bit+float32.",
            metavar="NAME,…",
        ),
    ] = "",
    mode: Annotated[
        str, typer.Option(help="Modes beside the pipeline's own: text,hybrid.", metavar="NAME,…")
    ] = "",
    rerank: Annotated[
        bool | None,
        typer.Option(
            "--rerank/--no-rerank",
            help="With each candidate's reranker, or without. Default: both, where it has one.",
        ),
    ] = None,
    measure: Annotated[
        MeasureChoice, typer.Option(help="By which they are told apart; all are measured.")
    ] = MeasureChoice.NDCG,
    queries: Annotated[
        Path | None,
        typer.Option(help="A file of judged queries, in place of the pipeline's own."),
    ] = None,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(min=0, help="Stop before all of it together costs more than this."),
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="How long the sample's embedding batches are held.")
    ] = 30,
    report: Annotated[
        Path | None, typer.Option(help="Write one page to hand around.", metavar="FILE.html")
    ] = None,
    export_run: Annotated[
        Path | None,
        typer.Option(help="Write judgements and what was found as TREC's files.", metavar="DIR"),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            help="Compare nothing: from now on, what runs measure of the pipeline is compared with "
            "this run, or evaluation, or `last`.",
            metavar="RUN",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare searches as they are with other models, widths, formats, prompts or chunkers.

    On one sample, side by side, without touching what is stored or served. What embedding it costs
    is said before it is spent; the vectors stay for a later evaluation, or a switch.
    """
    from assets.work.evaluating.candidates import Asked
    from pipelines.operations.evaluation.as_json import compared_as_json
    from pipelines.operations.evaluation.comparing import evaluate as compare

    with sentences():
        if accept is not None:
            _accept(pipeline, accept, config or [], as_json=as_json)
            return
        asked = Asked(
            size=sample,
            dimensions=_numbers(dimensions),
            formats=_names(format),
            modes=_modes(mode),
            rerank=rerank,
            max_cost_usd=max_cost_usd,
            keep_days=keep_days,
            landscape=report is not None,
        )
        if report is not None:
            _check_report(report)
        with progress_apart(as_json):
            found = compare(
                pipeline,
                list(map(_files, candidate or [])),
                asked=asked,
                overrides=config or [],
                queries=queries,
                export=export_run,
                log=_say_progress,
                spending=lambda line: errors.say("{line}", line=line),
            )
        if report is not None:
            _write(report, found, measure.value)
        if as_json:
            print_json(compared_as_json(found))
        else:
            show(found, measure.value)
            for path in [*found.runs, *([str(report)] if report else [])]:
                say("written: [cyan]{path}[/cyan]", path=path)


def _accept(pipeline: str, run: str, config: Sequence[Path], *, as_json: bool) -> None:
    from pipelines.operations.evaluation.recorded import accept

    found = accept(pipeline, run, config)
    if as_json:
        print_json({"accepted": found.id, "run": found.run, "at": found.at})
    else:
        say(
            "accepted: [cyan]{id}[/cyan] of run {run}; the next runs are compared with it",
            id=found.id,
            run=found.run,
        )


def show(found: "Compared", measure: str) -> None:
    from pipelines.operations.evaluation.telling import sentences as telling
    from pipelines.operations.evaluation.telling import spent

    say("\n[bold]{pipeline}[/bold]: as it stands, and as it might be", pipeline=found.pipeline)
    _quality(found, measure).show()
    _cost(found).show()
    for line in [*telling(found, measure), spent(found)]:
        paragraph(shortened(line, 10_000), indent=1)
    say("")


def _quality(found: "Compared", measure: str) -> Listing:
    from pipelines.operations.evaluation.telling import how, probability, signed, title

    listing = Listing(
        "candidate",
        "how",
        Column(title(measure), right=True),
        "95 of 100",
        Column("against it", right=True),
        "chance",
    )
    names = _names_of(found.rows)
    for row in found.rows:
        value, against = row.measures[measure], row.against.get(measure)
        cell: Any = ""
        if against is not None:
            cell = signed(against.mean)
            if against.significant:
                if against.mean > 0:
                    cell = styled("[green]{value}[/green]", value=cell)
                else:
                    cell = styled("[red]{value}[/red]", value=cell)
        listing.row(
            next(names),
            how(row),
            f"{value.mean:.4f}",
            f"{value.low:.3f} to {value.high:.3f}",
            cell,
            probability(against.p) if against else "",
        )
    return listing


def _cost(found: "Compared") -> Listing:
    from assets.work.budget import dollars
    from pipelines.operations.evaluation.telling import how, size, takes

    listing = Listing(
        "candidate",
        "how",
        Column("bytes", right=True),
        Column("whole", right=True),
        Column("cost", right=True),
        Column("takes", right=True),
        Column("query ms\np50, p95", right=True),
        Column("search ms\np50, p95", right=True),
    )
    names = _names_of(found.rows)
    for row in found.rows:
        words = row.mode == "text"
        listing.row(
            next(names),
            how(row),
            "" if words else f"{row.bytes_per_vector:,}",
            "" if words else size(row.whole.bytes),
            "" if words else dollars(row.whole.cost_usd),
            "" if words else takes(row),
            *_milliseconds(row),
        )
    return listing


def _names_of(rows: "Sequence[Row]") -> Iterator[str]:
    """Of each row's candidate; in a terminal only where another one begins."""
    last = ""
    for row in rows:
        yield "" if row.candidate == last and console.is_terminal else row.candidate
        last = row.candidate


def _milliseconds(row: "Row") -> list[str]:
    from pipelines.operations.evaluation.telling import milliseconds

    pairs = (row.latency.embed, row.latency.search)
    return [
        f"{milliseconds(pair[0])}, {milliseconds(pair[1])}" if pair is not None else ""
        for pair in pairs
    ]


def _check_report(path: Path) -> None:
    """Before anything is paid for: nothing would be left to show for it."""
    from resources.core.errors import EvaluationError

    if path.is_dir() or not path.absolute().parent.is_dir():
        raise EvaluationError(
            f"the report cannot be written to {path}: name a file in a folder that is there"
        )


def _write(path: Path, found: "Compared", measure: str) -> None:
    from pipelines.operations.evaluation.page import as_page

    path.write_text(as_page(found, measure), "utf-8")


def _say_progress(line: str) -> None:
    errors.say("[dim]{line}[/dim]", line=line)


def _files(candidate: str) -> list[str]:
    """One file, or those between the pluses; a file that has one in its name is one."""
    from pipelines.framework.run_config import text_of
    from resources.core.errors import ConfigurationError

    if PLUS in candidate:
        try:
            text_of(candidate)
        except ConfigurationError:
            return [part for part in candidate.split(PLUS) if part]
    return [candidate]


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    found = []
    for part in _names(text):
        if not (part.isascii() and part.isdigit() and len(part) < 7 and int(part)):
            raise typer.BadParameter(
                f"{part!r} is no width: write whole numbers, as 512,256", param_hint="--dimensions"
            )
        found.append(int(part))
    return found


def _modes(text: str) -> list[Any]:
    known = [each.value for each in ModeChoice]
    for part in _names(text):
        if part not in known:
            raise typer.BadParameter(
                f"there is no mode {part!r}: choose among {', '.join(known)}", param_hint="--mode"
            )
    return _names(text)
