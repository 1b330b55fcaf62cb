"""What is said over HTTP when something cannot be done: a status, and one sentence.

Whoever asks is told what is wrong and the way out, and neither where files lie nor a key.
"""

import os
import re
from pathlib import Path
from typing import Any

from resources.core.errors import (
    BatchStoreError,
    DeploymentError,
    EmbeddingsError,
    ProviderError,
    QueryRefused,
    SearchIndexError,
)
from resources.core.paths import CODE_ROOT, find_project

UNEXPECTED = "something went wrong that nobody foresaw: the server's log says what"

_STATUS: dict[type[EmbeddingsError], int] = {
    QueryRefused: 400,
    ProviderError: 502,
    DeploymentError: 503,
    SearchIndexError: 503,
    BatchStoreError: 503,
}

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^\s/@]+@")
_FOLDERS = re.compile(
    r"(?:(?<![\w/:.~])(?:[A-Za-z]:)?|(?<=file://))(?:[/\\][^\s/\\:'\",;()]+)+(?=[/\\])"
)


class UnknownPipeline(EmbeddingsError):
    pass


class Busy(EmbeddingsError):
    pass


class TooSlow(EmbeddingsError):
    pass


_STATUS |= {UnknownPipeline: 404, Busy: 503, TooSlow: 504}


def status_of(error: EmbeddingsError) -> int:
    """An HTTP status; 500 for what only whoever runs the server can mend."""
    return next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)


def discreet(text: str) -> str:
    """A sentence without users, keys and folders: of a path its last name stays."""
    for name, value in os.environ.items():
        if len(value) >= 6 and _SECRET.search(name):
            text = text.replace(value, "***")
    for folder in (find_project(), CODE_ROOT, Path.cwd(), Path.home()):
        if folder is not None and len(folder.parts) > 1:
            text = text.replace(str(folder), "…")  # with blanks in it, too
    return _FOLDERS.sub("…", _USER.sub("***@", text)).replace("……", "…")


def discreet_values(value: Any) -> Any:
    """The same of every text in a JSON value."""
    if isinstance(value, str):
        return discreet(value)
    if isinstance(value, dict):
        return {name: discreet_values(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [discreet_values(inner) for inner in value]
    return value
