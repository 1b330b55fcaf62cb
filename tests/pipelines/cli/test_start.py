"""What the command loads before it knows what to do, and what it can say without."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from resources.core.paths import CODE_ROOT
from tests.pipelines.helpers import succeeds

HEAVY = "dagster", "pymongo", "numpy", "yaml"  # typer itself reads arguments with pydantic

LOADED = f"""
import atexit, sys
atexit.register(lambda: print("loaded:", *(name for name in {HEAVY} if name in sys.modules)))
from pipelines.cli.start import main
sys.argv = ["embeddings", *sys.argv[1:]]
main()
"""


def said(*arguments: str, **variables: str) -> str:
    """By a process that loads none of what is heavy."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=CODE_ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith("loaded:\n"), done.stdout[-300:] + done.stderr
    return done.stdout.removesuffix("loaded:\n") + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["index", "--help"], ["run"]])
def test_usage_is_said_before_anything_is_loaded(arguments: list[str]):
    assert "Usage:" in said(*arguments)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("embeddings run qui", "quickstart"),
        ("embeddings quarantine dr", "drop"),
        ("embeddings plan quickstart -c embedder/o", "embedder/openai.yaml"),
        ("embeddings search quickstart x --mode hy", "hybrid"),
    ],
)
def test_a_shell_completes_commands_pipelines_and_fragments(typed: str, offered: str):
    asked = {"_EMBEDDINGS_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    assert said(**asked, COMP_CWORD=str(len(typed.split()) - 1)).split() == [offered]


def test_the_version():
    assert succeeds("--version").strip() == version("mongodb-embedding-pipelines")
