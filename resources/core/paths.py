"""Where the project lies, and where relative paths of the configuration lead.

The project is the user's folder: `workspace.yaml`, `pipelines/`, `configs/`, `state/`. Our packages
lie in it only in the checkout; installed, they lie in site-packages.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from resources.core.errors import ConfigurationError

VARIABLE = "EMBEDDINGS_PROJECT"
HOME = "EMBEDDINGS_HOME"
MARK = "workspace.yaml"

CODE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that our packages lie in, and `configs/` with what comes with them."""

# Dagster has a code location's `working_directory` first on the path while it imports us, and may
# itself have been started from another project's folder.
_IMPORTED_FROM = Path(sys.path[0]).resolve()


def find_project() -> Path | None:
    """The project's root: absolute, and None where there is no project.

    The folder that `EMBEDDINGS_PROJECT` names; else the folder that this process imports from, if
    it has a `workspace.yaml`; else the nearest one upwards from the working directory that has.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    here = Path.cwd()
    for folder in (_IMPORTED_FROM, here, *here.parents):
        if os.path.isfile(folder / MARK):  # unlike Path's, False where it may not be looked at
            return folder
    return None


def project_root() -> Path:
    """The project's root.

    Raises:
        ConfigurationError: There is no project here.
    """
    root = find_project()
    if root is not None and not root.is_dir():
        raise ConfigurationError(f"{VARIABLE} names {root}, and there is no such folder")
    if root is None:
        raise ConfigurationError(
            f"there is no {MARK} in {Path.cwd()} or above it, so this is no project: go to the "
            f"folder of one, name it in {VARIABLE}, or make one with `embeddings init FOLDER`"
        )
    return root


def is_url(path: str) -> bool:
    """True for an object-store or other fsspec URL (`s3://…`), which is never resolved."""
    return "://" in path


def state_home() -> Path:
    """The folder under which the project keeps what it makes.

    `EMBEDDINGS_HOME` if it is set, else `state/` in the project.
    """
    home = os.environ.get(HOME)
    return Path(home).expanduser().resolve() if home else project_root() / "state"


def state_path(path: str) -> str:
    """A path of something the project makes: absolute, a URL, or relative to `state_home()`."""
    return _from(state_home, path)


def input_path(path: str) -> str:
    """A path of something the user brings: absolute, a URL, or relative to the project's folder."""
    return _from(project_root, path)


def _from(start: Callable[[], Path], path: str) -> str:
    # Whoever names whole paths needs no project.
    if is_url(path):
        return path
    found = Path(path).expanduser()
    return str(found if found.is_absolute() else start() / found)
