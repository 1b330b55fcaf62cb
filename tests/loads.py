"""What a worker loads and connects to, written down: `celery … worker -I tests.loads`."""

import os
from pathlib import Path
from typing import Any

VARIABLE = "TEST_LOADS"
"""Names the file that every model loaded, and every client opened, adds a line to."""


def _note(line: str) -> None:
    with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {line}\n")


def _watch() -> None:
    from resources.embedders.sentence_transformers import SentenceTransformersProvider
    from resources.mongodb import clients

    load, connect = SentenceTransformersProvider._load, clients._connect

    def loading(self: Any, folder: Any) -> Any:
        _note(f"model {folder.name}")
        return load(self, folder)

    def connecting(uri: str, timeout_seconds: float) -> Any:
        _note("client")
        return connect(uri, timeout_seconds)

    SentenceTransformersProvider._load = loading
    clients._connect = connecting


if VARIABLE in os.environ:
    _watch()
