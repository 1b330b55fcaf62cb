"""The lineage of a vector, as it is stored with it."""

from dataclasses import dataclass
from datetime import datetime


def lineage_path(path: str) -> str:
    """Where a vector's lineage lies: `embedding_lineage` for the path `embedding`."""
    return _beside(path, "lineage")


def rescore_path(path: str) -> str:
    """Where the finer vector lies: `embedding_rescore` for the path `embedding`."""
    return _beside(path, "rescore")


def _beside(path: str, name: str) -> str:
    root, *rest = path.split(".")
    return ".".join([f"{root}_{name}", *rest])


@dataclass(frozen=True, slots=True)
class Lineage:
    """Who made a vector.

    Attributes:
        space_id: Of the embedding space.
        model: The model that embedded it, a member of the space's family.
        text_hash: SHA-256 of the embedded text, hex.
        batch: The embedding batch it was made in.
        run: The Dagster run that made it.
        at: When it was made.
        cut: The model saw only the beginning of the text, or may have.
    """

    space_id: str
    model: str
    text_hash: str
    batch: str
    run: str
    at: datetime
    cut: bool = False
