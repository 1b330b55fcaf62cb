"""`make dev`: the Dagster UI and daemon over this project, with its `.env` and its history.

`dagster dev` reads the `.env` of the folder that it is started in, which here is DAGSTER_HOME: what
it puts down beside itself would lie in the project.
"""

import os
import sys

from pipelines.framework.environment import load_environment
from pipelines.framework.instance import project_instance
from resources.core.errors import EmbeddingsError
from resources.core.paths import MARK, project_root


def main() -> None:
    root = project_root()
    load_environment(root)
    with project_instance():  # there before `dagster dev` opens it without the lock
        pass
    os.chdir(os.environ["DAGSTER_HOME"])
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(root / MARK), *sys.argv[1:]]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    try:
        main()
    except EmbeddingsError as error:
        sys.exit(f"error: {error}")
