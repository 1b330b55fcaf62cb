"""The commands `embeddings queries PIPELINE …`: what tells how good searches are."""

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pipelines.cli.options import WRONG, AsJson, Configs, Pipeline, progress_apart, sentences
from pipelines.cli.terminal import Column, Listing, facts, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.operations.queries import Generation, Listed
    from resources.evaluation.judged import JudgedQuery
    from resources.evaluation.queries.imported import Import
    from resources.evaluation.queries.writing import Outline, Written

app = typer.Typer(
    no_args_is_help=True, help="Judged queries: write them by a model, list, import, export."
)


SHOWN = 20
"""Queries, where nothing is said."""


# Enums, because they are what every version of typer turns into a choice.
class Readable(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    TREC = "trec"


class Writable(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    TREC = "trec"


class IdsChoice(StrEnum):
    AS_WRITTEN = "as_written"
    TEXT = "text"
    INTEGER = "integer"
    OBJECTID = "objectid"
    UUID = "uuid"


@app.callback()
def queries(context: typer.Context, pipeline: Pipeline) -> None:
    """Judged queries: write them by a model, list, import, export."""
    context.obj = pipeline


@app.command("generate")
def generate(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would cost.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Have a chat model write the questions of `by_model`, and say before what it costs.

    Each document is asked about once, and what is written is kept at once: run it again after it
    was interrupted, or when the source has grown. Queries that are made of the documents
    themselves (`generated`) are only shown: they cost nothing, and are kept nowhere.
    """
    from pipelines.operations.queries import Listed
    from pipelines.operations.queries import generate as have_written

    with sentences(), progress_apart(as_json):
        found = have_written(
            context.obj,
            config or [],
            announce=_announce,
            dry_run=dry_run,
            log=_log,
            limit=SHOWN,
        )
        if isinstance(found, Listed):
            _show(found)
            say("[dim]they are made anew whenever they are read, and cost nothing[/dim]")
        elif found.written is not None:
            _show_written(found.written)
    listed = isinstance(found, Listed)
    if as_json:
        print_json(_as_document(found) if listed else _generation(context.obj, found))
    if not listed and (written := found.written) and (written.stopped or written.refused):
        raise typer.Exit(WRONG)


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=0, help="So many of them; 0 for all.")] = SHOWN,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Show the queries, wherever they come from, with what is judged to answer them."""
    from pipelines.operations.queries import listed

    with sentences():
        found = listed(context.obj, config or [], limit=limit)
        if as_json:
            print_json(_as_document(found))
        else:
            _show(found)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A path or URL; of TREC's files the judgements.")
    ],
    form: Annotated[
        Readable | None, typer.Option("--format", help="Default: by the file's name.")
    ] = None,
    topics: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The queries that judgements (qrels) belong to."),
    ] = None,
    ids: Annotated[
        IdsChoice, typer.Option(help="Of which type the judged ids are in the source.")
    ] = IdsChoice.AS_WRITTEN,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of another set.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Put the judged queries of a file into our collection `evaluation_queries`.

    `queries: {imported: {}}` measures with them. All of the file is read before any of it is
    written.
    """
    from pipelines.operations.queries import import_queries

    with sentences():
        done, used = import_queries(
            context.obj,
            file,
            config or [],
            form=cast(Any, form and form.value),
            topics=topics,
            ids=cast(Any, ids.value),
            replace=replace,
        )
        if as_json:
            print_json({"pipeline": context.obj, **dataclasses.asdict(done), "used": used})
        else:
            _show_import(context.obj, done, used)


@app.command("export")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Replaced if it is there.")],
    form: Annotated[
        Writable | None,
        typer.Option("--format", help="Default: by the file's name. trec: two files."),
    ] = None,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Write the queries to a file, from which `import` or `jsonl` reads the same set."""
    from pipelines.operations.queries import export_queries

    with sentences():
        files, count = export_queries(
            context.obj, file, config or [], form=cast(Any, form and form.value)
        )
        if as_json:
            print_json({"pipeline": context.obj, "files": list(map(str, files)), "queries": count})
        else:
            names = " and ".join(map(str, files))
            say("{count:,} queries are in {names}", count=count, names=names)


def _announce(model: str, outline: "Outline") -> None:
    from assets.work.budget import dollars

    if not outline.documents:
        say("nothing is to be asked: {kept:,} documents have their questions", kept=outline.kept)
        return
    say(
        "{model} is to be asked about {count:,} documents, {kept:,} have their questions: about "
        "{sent:,} tokens sent, {back:,} back, {cost}",
        model=model,
        count=len(outline.documents),
        kept=outline.kept,
        sent=outline.tokens_in,
        back=outline.tokens_out,
        cost=dollars(outline.cost_usd),
    )


def _log(line: str) -> None:
    say("[dim]{line}[/dim]", line=line)


def _show_written(written: "Written") -> None:
    from assets.work.budget import dollars
    from resources.evaluation.queries.writing import refusals

    for line in refusals(written):
        say("[yellow]no question about {line}[/yellow]", line=line)
    if written.documents or written.refused or written.removed:
        say(
            "{questions:,} questions about {count:,} documents are kept, {removed:,} old ones are "
            "gone; billed: {sent:,} tokens sent, {back:,} back, {cost}",
            questions=written.questions,
            count=written.documents,
            removed=written.removed,
            sent=written.tokens_in,
            back=written.tokens_out,
            cost=dollars(written.cost_usd),
        )
    if written.stopped:
        say("[red]it stopped:[/red] {why}; what is written is kept", why=written.stopped)


def _generation(pipeline: str, found: "Generation") -> dict[str, Any]:
    from pipelines.operations.search.as_json import jsonable

    outline, written = found.outline, found.written
    document: dict[str, Any] = {
        "pipeline": pipeline,
        "model": found.model,
        "estimate": {
            "documents": len(outline.documents),
            "kept": outline.kept,
            "tokens_in": outline.tokens_in,
            "tokens_out": outline.tokens_out,
            "cost_usd": outline.cost_usd,
        },
        "written": None,
    }
    if written is not None:
        document["written"] = {
            **dataclasses.asdict(written),
            "refused": [
                {"id": jsonable(name), "reason": reason} for name, reason in written.refused
            ],
        }
    return document


def _show(found: "Listed") -> None:
    facts(
        {
            "source": found.source,
            "queries": f"{found.count:,}",
            "answerable": f"{found.answerable:,}",
            "digest": found.digest,
        }
    )
    for note in found.notes:
        say("[dim]{note}[/dim]", note=note)
    listing = Listing(
        "id", Column("query", prose=True), Column("relevant", prose=True), Column("filter")
    )
    for query in found.queries:
        listing.row(query.id, query.text, _relevant(query), _filter(query))
    listing.show()
    if more := found.count - len(found.queries):
        say("[dim]{more:,} more: --limit 0 shows all[/dim]", more=more)


def _relevant(query: "JudgedQuery") -> str:
    from resources.core.keys import shown

    judged = [
        shown(each.id) if each.grade == 1 else f"{shown(each.id)} ({each.grade})"
        for each in query.judgements
    ]
    return ", ".join(judged) or "nothing"


def _filter(query: "JudgedQuery") -> str:
    from resources.core.keys import shown

    return shown(query.filter) if query.filter else ""


def _as_document(found: "Listed") -> dict[str, Any]:
    from pipelines.operations.search.as_json import jsonable

    queries = [
        {
            "id": query.id,
            "query": query.text,
            "relevant": [
                {"id": jsonable(each.id), "grade": each.grade} for each in query.judgements
            ],
            "filter": jsonable(query.filter),
            "segments": dict(query.segments),
        }
        for query in found.queries
    ]
    return {**vars(found), "notes": list(found.notes), "queries": queries}


def _show_import(pipeline: str, done: "Import", used: bool) -> None:
    if not done.changed:
        say(
            "these {count:,} queries are there already (digest {digest})",
            count=done.queries,
            digest=done.digest,
        )
    else:
        say(
            "{count:,} queries are imported (digest {digest}); {replaced:,} were there before",
            count=done.queries,
            digest=done.digest,
            replaced=done.replaced,
        )
    if not used:
        say(
            "[yellow]{pipeline} does not measure with them: `evaluation` needs "
            "`queries: {choice}`[/yellow]",
            pipeline=pipeline,
            choice="{imported: {}}",
        )
