"""The Dagster instance that commands of this project write to: the one the UI shows."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import dagster as dg
from filelock import FileLock

from resources.core.paths import state_home

SETTINGS = Path(__file__).with_name("dagster.yaml")


@contextmanager
def project_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance in DAGSTER_HOME, else in `state/dagster`, a folder that lasts.

    A new one gets the project's settings, and DAGSTER_HOME is set to where it is.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or state_home() / "dagster").expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    # Whoever opens it first creates its tables. Two at once would write two schema versions into
    # its SQLite files, and then no process can open them again. A read-only home (a mounted
    # dagster.yaml) has none of those.
    with FileLock(home / ".opening.lock") if os.access(home, os.W_OK) else nullcontext():
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(SETTINGS, home / "dagster.yaml")
        instance = dg.DagsterInstance.get()
    with instance:
        yield instance
