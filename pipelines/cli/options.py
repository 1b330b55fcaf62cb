"""What the commands share: options, errors as sentences, JSON for programs."""

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import render
from pipelines.framework.console import errors
from resources.core.errors import EmbeddingsError

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
def sentences() -> Iterator[None]:
    """An error that a user can act on is one sentence, and exit status 1."""
    try:
        yield
    except EmbeddingsError as error:
        say_error(error)
        raise typer.Exit(1) from error


def collect_from_now_on() -> None:
    """What is there by now stays; see `start`."""
    gc.freeze()
    gc.enable()


def say_error(error: EmbeddingsError) -> None:
    errors.print(f"[red]error:[/red] {render.plain(str(error))}", soft_wrap=True)


def print_json(value: Any) -> None:
    # For programs: no colours, no wrapping.
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
