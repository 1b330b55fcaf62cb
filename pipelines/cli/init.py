"""The command `embeddings init`: a project of one's own, which runs as it is."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import AsJson, sentences
from pipelines.cli.terminal import print_json
from pipelines.framework.console import say
from resources.core.errors import ConfigurationError

TEMPLATE = Path(__file__).with_name("template")


def init(
    folder: Annotated[
        Path, typer.Argument(help="Made if it is not there; nothing is overwritten.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a project: a pipeline over twelve texts, its YAML, workspace.yaml, .env.example."""
    with sentences():
        files = write(folder)
        if as_json:
            print_json({"folder": str(folder), "files": files})
            return
        say(
            """\
made [bold]{folder}[/bold]

  cd {folder}
  embeddings run notes
  embeddings search notes "my bike tyre keeps losing air"
  DAGSTER_HOME=$PWD/state/dagster dagster dev      the UI on http://127.0.0.1:3000""",
            folder=folder,
        )


def write(folder: Path) -> list[str]:
    """Copy the template, and the YAML fragments that choose models and a deployment; their paths.

    Raises:
        ConfigurationError: A file is there already; then none is written.
    """
    from pipelines.framework.run_config import CONFIGS

    files = {folder / path.relative_to(TEMPLATE): path for path in TEMPLATE.rglob("*")}
    for kind in ("embedder", "mongodb", "rerank"):
        files |= {folder / "configs" / kind / path.name: path for path in CONFIGS.glob(f"{kind}/*")}
    # An installation compiles the template's module too.
    files = {to: path for to, path in files.items() if path.is_file() and path.suffix != ".pyc"}
    for taken in filter(Path.exists, files):
        raise ConfigurationError(
            f"{taken} is there already, and nothing is overwritten: name another folder, or move "
            "that file away"
        )
    try:
        for target, source in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename} cannot be written ({error.strerror}): name another folder"
        ) from error
    return sorted(path.relative_to(folder).as_posix() for path in files)
