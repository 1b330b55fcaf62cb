"""The command `embeddings`: what it can do, in the order in which one needs it."""

import sys
from typing import Annotated

import typer

from pipelines.cli import (
    audit,
    compare,
    demo,
    doctor,
    estimate,
    evaluate,
    history,
    index,
    init,
    lineage,
    list_,
    maintain,
    models,
    plan,
    quarantine,
    queries,
    run,
    search,
    serve,
    spaces,
    spend,
    status,
    stop,
)
from pipelines.cli.options import WRONG, say_error
from pipelines.framework.console import say
from pipelines.framework.environment import load_environment
from resources.core.errors import ConfigurationError
from resources.core.paths import find_project

STATUSES = """\
Exit status of every command:

0    done

1    something is wrong, or differs: a sentence says what, and what to do

2    it was called in a wrong way

130  interrupted (Ctrl-C, SIGTERM); what was done by then is kept
"""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Embedding pipelines for MongoDB on Dagster.",
    epilog=STATUSES,
)

BEGIN = "Begin"
app.command("init", rich_help_panel=BEGIN)(init.init)
app.command("list", rich_help_panel=BEGIN)(list_.list_)
app.command("models", rich_help_panel=BEGIN)(models.models)
app.command("estimate", rich_help_panel=BEGIN)(estimate.estimate)
app.command("doctor", rich_help_panel=BEGIN)(doctor.doctor)
app.command("demo", hidden=True)(demo.demo)

RUN = "Run"
app.command("plan", rich_help_panel=RUN)(plan.plan)
app.command("run", rich_help_panel=RUN)(run.run)
app.command("stop", rich_help_panel=RUN)(stop.stop)

SEARCH = "Search"
app.command("search", rich_help_panel=SEARCH)(search.search)
app.command("serve", rich_help_panel=SEARCH)(serve.serve)
app.command("compare", rich_help_panel=SEARCH)(compare.compare)
app.command("evaluate", rich_help_panel=SEARCH)(evaluate.evaluate)

MEASURE = "Measure"
app.add_typer(queries.app, name="queries", rich_help_panel=MEASURE)

CHANGE = "Change the model"
app.command("spaces", rich_help_panel=CHANGE)(spaces.spaces)
app.command("promote", rich_help_panel=CHANGE)(spaces.promote)
app.command("rollback", rich_help_panel=CHANGE)(spaces.rollback)
app.command("retire", rich_help_panel=CHANGE)(spaces.retire)

LOOK = "Look"
app.command("status", rich_help_panel=LOOK)(status.status)
app.command("history", rich_help_panel=LOOK)(history.history)
app.command("lineage", rich_help_panel=LOOK)(lineage.lineage)
app.command("spend", rich_help_panel=LOOK)(spend.spend)
app.command("audit", rich_help_panel=LOOK)(audit.audit)

REPAIR = "Repair"
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=REPAIR)
app.add_typer(index.app, name="index", rich_help_panel=REPAIR)
app.command("maintain", rich_help_panel=REPAIR)(maintain.maintain)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say("{version}", version=version("mongodb-embedding-pipelines"))
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Embedding pipelines for MongoDB on Dagster."""


def main() -> None:
    root = find_project()
    if root is not None:
        # As Dagster does for a code location: a pipeline may import modules beside `pipelines/`.
        sys.path.insert(0, str(root))
        try:
            load_environment(root)
        except ConfigurationError as error:
            say_error(error)
            sys.exit(WRONG)
    app()
