"""The Dagster instance that commands of this project write to: the one the UI shows."""

import os
import shutil

from resources.paths import PROJECT_ROOT, state_home


def use_project_instance() -> str:
    """Make DAGSTER_HOME point somewhere that lasts: as it is set, else `state/dagster`."""
    home = os.environ.get("DAGSTER_HOME")
    if home:
        return home
    folder = state_home() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT_ROOT / "dagster.yaml", folder / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(folder)
    return str(folder)
