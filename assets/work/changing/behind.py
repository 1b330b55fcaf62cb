"""How far one space of a pipeline is behind another: counted in the documents that hold both."""

from dataclasses import dataclass
from typing import Any

from assets.work.opened import Opened


@dataclass(frozen=True)
class Behind:
    """What one space lacks of another.

    Attributes:
        chunks: Of the other space.
        missing: Of them without a vector in this one.
        changed: Of them whose vector here is of another text.
        gone: Vectors here of chunks that the other does not have any more.
    """

    chunks: int
    missing: int
    changed: int
    gone: int

    @property
    def fresh(self) -> bool:
        return not (self.missing or self.changed or self.gone)

    def __str__(self) -> str:
        if self.fresh:
            return f"it is as fresh: {self.chunks:,} chunks"
        parts = [
            (self.missing, "have no vector in it"),
            (self.changed, "have one of an older text"),
            (self.gone, "are in it that are not in the source any more"),
        ]
        said = ", ".join(f"{count:,} {what}" for count, what in parts if count)
        return f"it is stale: of {self.chunks:,} chunks {said}"


def behind(this: Opened, other: Opened, *, seconds: float = 0) -> Behind | None:
    """Compare two spaces chunk by chunk, in the server.

    Args:
        this: In the one.
        other: In the other.
        seconds: That it may take; 0: however long, since it is wanted.

    Raises:
        ExecutionTimeout: It takes longer.

    Returns:
        None where they are cut by different chunkers: no chunk of one is a chunk of the other.
    """
    if this.source.chunking != other.source.chunking:
        return None
    if this.apart != other.apart:
        return None  # what they cut alike are two documents
    mine, theirs = this.store, other.store
    space, text = f"${mine.lineage_path}.space", f"${mine.lineage_path}.text_hash"
    there = {"$eq": [space, this.space.id]}
    same = {"$eq": [text, f"${theirs.lineage_path}.text_hash"]}
    held = {f"{theirs.lineage_path}.space": other.space.id, **theirs.mine}
    stages = [
        {"$match": held},
        {"$project": {"there": {"$cond": [there, 1, 0]}, "same": {"$cond": [same, 1, 0]}}},
        {
            "$group": {
                "_id": None,
                "chunks": {"$sum": 1},
                "there": {"$sum": "$there"},
                "same": {"$sum": {"$multiply": ["$there", "$same"]}},
            }
        },
    ]
    limit: dict[str, Any] = {"maxTimeMS": int(seconds * 1_000)} if seconds else {}
    rows = theirs.collection.aggregate(stages, **limit)
    found = next(iter(rows), {"chunks": 0, "there": 0, "same": 0})
    stored = mine.collection.count_documents(
        {f"{mine.lineage_path}.space": this.space.id, **mine.mine}
    )
    chunks, both = int(found["chunks"]), int(found["there"])
    return Behind(chunks, chunks - both, both - int(found["same"]), max(0, stored - both))
