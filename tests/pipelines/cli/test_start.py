"""What the command loads, and how soon it answers."""

import subprocess
import sys

import pytest

from resources.core.paths import CODE_ROOT

HEAVY = "dagster", "pymongo", "numpy", "yaml"  # typer itself reads arguments with pydantic

LOADED = f"""
import atexit, sys
atexit.register(lambda: print("loaded:", *(name for name in {HEAVY} if name in sys.modules)))
from pipelines.cli.start import main
sys.argv = ["embeddings", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("arguments", [["--help"], ["index", "--help"], ["run"]])
def test_usage_is_said_before_anything_is_loaded(arguments: list[str]):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=CODE_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Usage:" in done.stdout + done.stderr
    assert done.stdout.endswith("loaded:\n"), done.stdout[-300:] + done.stderr
