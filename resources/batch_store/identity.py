"""Which batch store this is: a file in it, by which two machines see that they have the same.

Run as a process of its own, with the URL in the environment: what object stores load is not to be
in who asks, and a URL may hold credentials.
"""

import os
import secrets
import sys

from resources.batch_store.files import Files, MissingFile
from resources.core.errors import EmbeddingsError
from resources.core.paths import state_path

URL = "EMBEDDINGS_IDENTITY_OF"
_FILE = "store.json"


def identity(files: Files, *, create: bool = False) -> str:
    """A name that no other store has; empty where it has none yet.

    Args:
        files: Of the store.
        create: Give it one; asked of one machine at a time.
    """
    try:
        return files.read_json(_FILE)["id"]
    except (FileNotFoundError, MissingFile):
        if not create:
            return ""
        files.write_json(_FILE, {"id": secrets.token_hex(8)})
        return files.read_json(_FILE)["id"]


def main() -> int:
    try:
        files = Files(state_path(os.environ[URL]))
        print(identity(files, create="create" in sys.argv))  # noqa: T201
    except EmbeddingsError as error:
        print(error)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
