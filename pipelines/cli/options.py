"""What the commands share: options, and errors as sentences."""

import gc
import glob
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.framework.console import errors
from resources.core.credentials import without_secrets
from resources.core.errors import EmbeddingsError
from resources.core.paths import CODE_ROOT, find_project
from resources.core.progress import voiced

if TYPE_CHECKING:
    from pipelines.operations.several import Unseen

DONE, WRONG, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses of every command."""


def _pipelines(incomplete: str) -> list[str]:
    from pipelines.framework.names import pipeline_names

    return [name for name in pipeline_names() if name.startswith(incomplete)]


def config_names(incomplete: str) -> list[str]:
    """Fragments by the names that `-c` takes, and files that are there."""
    project = find_project() or CODE_ROOT
    folders = {project / "configs", CODE_ROOT / "configs"}
    found = {path.relative_to(top).as_posix() for top in folders for path in top.rglob("*.yaml")}
    named = sorted(name for name in found if name.startswith(incomplete))
    there = (path for kind in ("*", "*/*") for path in glob.iglob(f"{incomplete}{kind}"))
    return [*named, *(path for path in there if path.endswith(".yaml"))]


Pipeline = Annotated[
    str,
    typer.Argument(
        help="Name of a module in pipelines/.", metavar="PIPELINE", autocompletion=_pipelines
    ),
]
OnePipeline = Annotated[
    str | None,
    typer.Argument(help="Default: all of them.", metavar="[PIPELINE]", autocompletion=_pipelines),
]
Pipelines = Annotated[
    list[str] | None,
    typer.Argument(help="Default: all of them.", metavar="PIPELINE", autocompletion=_pipelines),
]
ForPipeline = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="PIPELINE",
        autocompletion=_pipelines,
        help="Ranked for this pipeline's texts: what each would cost and hold, which texts are too "
        "long for it, and what was measured of it here.",
    ),
]
Configs = Annotated[
    list[Path] | None,
    typer.Option(
        "-c",
        "--config",
        help="YAML run config merged on top; may be repeated, a later one wins.",
        autocompletion=config_names,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document; progress goes to standard error."),
]


@contextmanager
def sentences(*, collecting: bool = True) -> Iterator[None]:
    """An error that a user can act on is one sentence; so is an interruption.

    Everything in a command's function is within it but its imports, which must come before.

    Args:
        collecting: False where there is more to import; who says so calls `collect_from_now_on`.
    """
    if collecting:
        collect_from_now_on()
    try:
        with voiced(_say_progress, patient=True):
            yield
    except EmbeddingsError as error:
        say_error(error)
        raise typer.Exit(WRONG) from error
    except KeyboardInterrupt as interrupt:
        errors.say("[yellow]interrupted[/yellow]")
        raise typer.Exit(INTERRUPTED) from interrupt
    except Exception as error:  # a trace, and of nothing that is to be kept secret
        if isinstance(error, OSError) and error.filename:  # else a closed pipe, say
            what = f"{error.filename} cannot be used ({error.strerror})"
            say_error(EmbeddingsError(f"{what}: make room, or see that it may be read and written"))
            raise typer.Exit(WRONG) from error
        found = without_secrets(error)
        if found is error:
            raise
        raise found from found.__cause__


@contextmanager
def progress_apart(as_json: bool) -> Iterator[None]:
    """With `--json`, lines of progress go to standard error: on the other stands one document."""
    with ExitStack() as stack:
        if as_json:
            stack.enter_context(redirect_stdout(sys.stderr))
        yield


def collect_from_now_on() -> None:
    """What is there by now stays; see `start`."""
    gc.freeze()
    gc.enable()


def _say_progress(line: str) -> None:
    """Beside what a command prints, which may be for a program."""
    errors.say("[dim]{line}[/dim]", line=line)


def say_unseen(unseen: "Mapping[str, Unseen]") -> None:
    """Which pipelines are left out of an answer, and why: on standard error.

    Raises:
        typer.Exit: One is left out for another reason than that its server sleeps.
    """
    for name, each in unseen.items():
        if each.asleep:
            errors.say("[dim]{name} is left out: {why}[/dim]", name=name, why=each.why)
        else:
            errors.say("[red]✗ {name}:[/red] {why}", name=name, why=each.why)
    if any(not each.asleep for each in unseen.values()):
        raise typer.Exit(WRONG)


def say_error(error: EmbeddingsError) -> None:
    errors.say("[red]error:[/red] {error}", error=error)


def mql(text: str | None) -> dict[str, Any] | None:
    """What `--filter` says, as BSON.

    Raises:
        typer.BadParameter: It is no JSON object.
    """
    from bson import json_util

    if text is None:
        return None
    try:
        value = json_util.loads(text)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(
            f'it is not JSON ({error}); write it as \'{{"year": {{"$gte": 2000}}}}\'',
            param_hint="--filter",
        ) from error
    if not isinstance(value, dict):
        raise typer.BadParameter(
            'it must be a JSON object: \'{"kind": "film"}\'', param_hint="--filter"
        )
    return value
