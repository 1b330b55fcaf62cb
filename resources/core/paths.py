"""Where relative paths of the configuration lead."""

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def is_url(path: str) -> bool:
    """True for an object-store or other fsspec URL (`s3://…`), which is never resolved."""
    return "://" in path


def state_home() -> Path:
    """The folder under which the project keeps what it makes.

    `EMBEDDINGS_HOME` if it is set, else `state/` in the project.
    """
    home = os.environ.get("EMBEDDINGS_HOME")
    return Path(home).expanduser().resolve() if home else PROJECT_ROOT / "state"


def state_path(path: str) -> str:
    """A path of something the project makes: absolute, a URL, or relative to `state_home()`."""
    return path if is_url(path) else str(state_home() / Path(path).expanduser())


def input_path(path: str) -> str:
    """A path of something the user brings: absolute, a URL, or relative to the project's folder."""
    return path if is_url(path) else str(PROJECT_ROOT / Path(path).expanduser())
