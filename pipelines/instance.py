"""The Dagster instance that commands of this project write to: the one the UI shows."""

import os
import shutil
from pathlib import Path

from resources.paths import PROJECT_ROOT, state_home


def use_project_instance() -> Path:
    """Make DAGSTER_HOME a folder that lasts, with the project's settings unless it has its own.

    Returns:
        DAGSTER_HOME as it is set, else `state/dagster`.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or state_home() / "dagster").expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home
