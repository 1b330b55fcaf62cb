"""The Dagster instance that commands of this project write to: the one the UI shows."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryFile

import dagster as dg
import yaml
from filelock import FileLock

from pipelines.framework.home_errors import opening, using
from resources.core.paths import state_home
from resources.core.private import make_private

SETTINGS = Path(__file__).with_name("dagster.yaml")
FOLDERS = ("history", "schedules", "storage")
"""Of a home with those settings."""


def instance_home() -> Path:
    """The folder in DAGSTER_HOME, else `state/dagster`; absolute."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(home or state_home() / "dagster").expanduser().resolve()


@contextmanager
def project_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance in DAGSTER_HOME, else in `state/dagster`, a folder that lasts.

    A new one gets the project's settings, and DAGSTER_HOME is set to where it is. What is made is
    for its owner alone: run configs, previews and logs hold texts of the source.

    Raises:
        ConfigurationError: The folder is full, closed, damaged or held by another process.
    """
    home = instance_home()
    with opening(home):
        make_private(home)
        os.environ["DAGSTER_HOME"] = str(home)
        # Whoever opens it first creates its tables. Two at once would write two schema versions
        # into its SQLite files, and then no process can open them again. A read-only home (a
        # mounted dagster.yaml) has none of those.
        with FileLock(home / ".opening.lock") if os.access(home, os.W_OK) else nullcontext():
            if not (home / "dagster.yaml").exists():
                for folder in FOLDERS:  # Dagster would open them to all who get into the home
                    make_private(home / folder)
                shutil.copyfile(SETTINGS, home / "dagster.yaml")
            instance = dg.DagsterInstance.get()
    with using(home), instance:
        yield instance


def check_home(home: Path) -> None:
    """Look whether runs can be kept there, without making anything.

    Raises:
        ConfigurationError: They cannot.
    """
    with opening(home):
        existing = next(path for path in [home, *home.parents] if os.path.lexists(path))
        with TemporaryFile(dir=existing):
            pass
        for file in home.glob("history/*.db"):
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if (home / "dagster.yaml").exists():
            yaml.safe_load((home / "dagster.yaml").read_text("utf-8"))
