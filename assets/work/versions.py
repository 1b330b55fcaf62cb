"""Versions of the code that makes results: `code_version` of the assets, and what batches note.

An asset's is raised when, from the same source, settings and store, its code makes something else
than before: other chunks or texts, other vectors, another way of storing them, another index.
Dagster shows the asset as out of date then, and whoever automates by it has it made again. What is
only told, written down besides or made faster leaves it as it is.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

CODE = MappingProxyType(
    {
        "source_documents": "1",
        "embedding_batches": "1",
        "stored_vectors": "1",
        "search_index": "1",
        "candidate_space": "1",
        "search_quality": "1",
    }
)
"""By asset."""

PACKAGE = "mongodb-embedding-pipelines"


@cache
def package_version() -> str:
    """Of what is installed; empty where the code is not."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def code_of_batches() -> dict[str, str]:
    """By what code a batch was made, as its details have it."""
    installed = package_version()
    return {
        "embedding_batches": CODE["embedding_batches"],
        **({PACKAGE: installed} if installed else {}),
    }
