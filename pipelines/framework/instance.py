"""The Dagster instance that commands of this project write to: the one the UI shows."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import dagster as dg
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
