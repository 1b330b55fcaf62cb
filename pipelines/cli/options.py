"""What the commands share: options, and errors as sentences."""

import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from pipelines.framework.console import errors
from resources.core.errors import EmbeddingsError
from resources.core.progress import voiced

Pipeline = Annotated[
    str, typer.Argument(help="Name of a module in pipelines/.", metavar="PIPELINE")
]
Configs = Annotated[
    list[Path] | None,
    typer.Option(
        "-c", "--config", help="YAML run config merged on top; may be repeated, a later one wins."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def sentences(*, collecting: bool = True) -> Iterator[None]:
    """An error that a user can act on is one sentence, and exit status 1.

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
        raise typer.Exit(1) from error
    except OSError as error:
        if not error.filename:  # a pipe that is closed, say, which is typer's concern
            raise
        say_error(
            EmbeddingsError(
                f"{error.filename} cannot be used ({error.strerror}): make room, or see that it "
                "may be read and written"
            )
        )
        raise typer.Exit(1) from error


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


def say_error(error: EmbeddingsError) -> None:
    errors.say("[red]error:[/red] {error}", error=error)
