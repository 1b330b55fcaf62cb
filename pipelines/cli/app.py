"""The command `embeddings`: what it can do, in the order in which one needs it."""

import sys

import typer
from dotenv import load_dotenv

from pipelines.cli import (
    audit,
    demo,
    doctor,
    index,
    init,
    lineage,
    list_,
    models,
    plan,
    quarantine,
    run,
    search,
    serve,
    spend,
    stop,
)
from resources.core.paths import find_project

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Embedding pipelines for MongoDB on Dagster.",
)

BEGIN = "Begin"
app.command("init", rich_help_panel=BEGIN)(init.init)
app.command("list", rich_help_panel=BEGIN)(list_.list_)
app.command("models", rich_help_panel=BEGIN)(models.models)
app.command("doctor", rich_help_panel=BEGIN)(doctor.doctor)
app.command("demo", hidden=True)(demo.demo)

RUN = "Run"
app.command("plan", rich_help_panel=RUN)(plan.plan)
app.command("run", rich_help_panel=RUN)(run.run)
app.command("stop", rich_help_panel=RUN)(stop.stop)

SEARCH = "Search"
app.command("search", rich_help_panel=SEARCH)(search.search)
app.command("serve", rich_help_panel=SEARCH)(serve.serve)

LOOK = "Look"
app.command("lineage", rich_help_panel=LOOK)(lineage.lineage)
app.command("spend", rich_help_panel=LOOK)(spend.spend)
app.command("audit", rich_help_panel=LOOK)(audit.audit)

REPAIR = "Repair"
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=REPAIR)
app.add_typer(index.app, name="index", rich_help_panel=REPAIR)


@app.callback()
def begin() -> None:
    """Embedding pipelines for MongoDB on Dagster."""


def main() -> None:
    root = find_project()
    if root is not None:
        # As Dagster does for a code location: a pipeline may import modules beside `pipelines/`.
        sys.path.insert(0, str(root))
        load_dotenv(root / ".env")
    app()
