"""The command `embeddings`."""

import dataclasses
import sys
from contextlib import nullcontext, redirect_stdout
from typing import Annotated

import typer
from dotenv import load_dotenv

from pipelines.cli import answers, index, init, models, quarantine, render, search, serve
from pipelines.cli.options import (
    AsJson,
    Configs,
    Pipeline,
    collect_from_now_on,
    print_json,
    sentences,
)
from pipelines.framework import catalog, execution, modules
from pipelines.framework.console import console
from pipelines.operations import audit, doctor, lineage
from pipelines.operations import plan as dry_run
from pipelines.operations.search import open_searcher
from resources.core.paths import find_project, project_root
from resources.mongodb import embedded
from resources.mongodb.resource import Embedded

DEMO_QUERIES = ("a robot that learns to feel", "my bike tyre keeps losing air")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Embedding pipelines for MongoDB on Dagster.",
)


@app.callback()
def begin(context: typer.Context) -> None:
    """Embedding pipelines for MongoDB on Dagster."""
    if context.invoked_subcommand != "search":  # which still has a model's library to import
        collect_from_now_on()


@app.command("run")
def run_(pipeline: Pipeline, config: Configs = None) -> None:
    """Materialize a pipeline: embed what is new or changed, bring its index up to date."""
    with sentences():
        console.print(f"[bold]{pipeline}[/bold]")
        outcome = execution.run(pipeline, config or [])
        render.run(pipeline, outcome)


@app.command("plan")
def plan_(pipeline: Pipeline, as_json: AsJson = False, config: Configs = None) -> None:
    """Say what a run would do and cost; touches nothing."""
    with sentences():
        found = dry_run.dry_run(pipeline, config or [])
        if as_json:
            print_json(dataclasses.asdict(found))
        else:
            render.dry_run(pipeline, found)
    if found.refused:
        raise typer.Exit(1)


@app.command("spend")
def spend_(
    pipeline: Pipeline,
    everything: Annotated[
        bool, typer.Option("--all", help="All pipelines of the same deployment.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Sum up what embedding and reranking took: tokens and money by day, pipeline and model."""
    with sentences():
        with catalog.open_pipeline(pipeline, config or []) as opened:
            whose = None if everything else opened.name
            rows = opened.registry.ledger.spend(whose)
            reranked = opened.registry.reranked.spend(whose)
        if as_json:
            found = {"embedding": rows, "reranking": reranked}
            print_json(
                [
                    {"kind": kind, **dataclasses.asdict(row)}
                    for kind, some in found.items()
                    for row in some
                ]
            )
        else:
            render.spend(rows)
            render.reranked(reranked)


@app.command("lineage")
def lineage_(
    pipeline: Pipeline,
    id: Annotated[str | None, typer.Option(help="`_id` of one document.")] = None,  # noqa: A002
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Say which model made each vector, or everything about one."""
    with sentences():
        if id is None:
            models = lineage.summary(pipeline, config or [])
            if as_json:
                print_json(render.models_as_json(models))
            else:
                render.models(pipeline, models)
        else:
            found = lineage.of_vector(pipeline, id, config or [])
            if as_json:
                print_json(render.lineage_as_json(found))
            else:
                render.lineage(found)


@app.command("audit")
def audit_(
    pipeline: Pipeline,
    repair: Annotated[
        bool, typer.Option("--repair", help="Run the pipeline on what does not fit.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Compare source, batches, vectors and index with one another; exit status 1 if they differ."""
    with sentences():
        log = (lambda line: None) if as_json else console.print
        found = audit.audit(pipeline, config or [], log)
        if repair and found.findings:
            if not as_json:
                render.audit(pipeline, found)
            # The run's lines of progress are not JSON.
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                audit.repair(pipeline, config or [], log)
            found = audit.audit(pipeline, config or [], log)
        if as_json:
            print_json(dataclasses.asdict(found))
        else:
            render.audit(pipeline, found)
    if found.findings:
        raise typer.Exit(1)


@app.command("doctor")
def doctor_(
    pipeline: Annotated[str | None, typer.Argument(metavar="[PIPELINE]")] = None,
    config: Configs = None,
) -> None:
    """Check whether a pipeline could run here, and how to fix what keeps it from running."""
    with sentences():
        problems, wanted = 0, []
        for finding in doctor.examine(pipeline, config or []):
            problems += finding.state == "problem"
            wanted += [finding.topic] if finding.state == "wanted" else []
            render.finding(finding)
    if problems:
        console.print(f"\n[red]{problems} to fix[/red] before it can run")
        raise typer.Exit(1)
    once = f", once {' and '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} set"
    console.print(
        "\n[green]ready[/green]"
        + (f" to run {pipeline}" if pipeline else "")
        + (once if wanted else "")
    )


app.command("init")(init.init)
app.command("models")(models.models)
app.command("search")(search.search)
app.command("serve")(serve.serve)
app.add_typer(index.app, name="index")
app.add_typer(quarantine.app, name="quarantine")


@app.command("demo", hidden=True)
def demo_() -> None:
    """Run the quickstart pipeline, search it, and say what to do next."""
    with sentences():
        console.print("[bold]quickstart[/bold]: 180 texts, a local model, the embedded server")
        render.run("quickstart", execution.run("quickstart"))
        with open_searcher("quickstart", follow=False) as searcher:
            for query in DEMO_QUERIES:
                answers.answer(searcher.search(query, limit=3))
    render.next_steps()


@app.command("list")
def list_() -> None:
    """List the pipelines, and what is wrong with those that cannot be loaded."""
    with sentences():
        project_root()
        for found in modules.declared():
            broken = f"  [red]broken[/red]: {render.plain(found.fault)}" if found.fault else ""
            console.print(f"{found.name}{broken}", soft_wrap=True)


@app.command("stop")
def stop_(
    pipeline: Annotated[
        str | None, typer.Argument(metavar="[PIPELINE]", help="Default: all of them.")
    ] = None,
    config: Configs = None,
) -> None:
    """Stop the embedded server; its data stays."""
    with sentences():
        folders = {}
        sound = (found.name for found in modules.declared() if not found.fault)
        for name in [pipeline] if pipeline else sound:
            missing = catalog.missing_variables(name, config or [])
            with catalog.open_pipeline(name, config or [], without=missing) as opened:
                deployment = opened.mongodb.deployment
                if isinstance(deployment, Embedded):
                    folders[deployment.path] = name
        stopped = [folder for folder in folders if embedded.stop(folder)]
    for folder in stopped:
        console.print(f"stopped the embedded server in {folder}", soft_wrap=True)
    if not stopped:
        console.print("no embedded server is running")


def main() -> None:
    root = find_project()
    if root is not None:
        # As Dagster does for a code location: a pipeline may import modules beside `pipelines/`.
        sys.path.insert(0, str(root))
        load_dotenv(root / ".env")
    app()
