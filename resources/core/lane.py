"""The identity of work: whose it is, in which space, and which piece of it."""

from collections.abc import Callable
from dataclasses import dataclass

from resources.core.shards import SHARED


@dataclass(frozen=True)
class Lane:
    """One space of one pipeline, or a piece of it.

    Ownership, quarantine and ledger go by pipeline and space: `shard` divides leases, plans and
    jobs only, or a change of the number of shards would disown every document. So does `place`,
    and it has a fencing token of its own.

    Attributes:
        pipeline: Its name.
        space_id: Of the space that its vectors are in.
        shard: Which piece, or `SHARED`; None for all of them, as planning needs them.
        place: Where the vectors lie, of a space that is beside the pipeline's first: what its path
            and its index's name have more; empty for the pipeline's own path.
    """

    pipeline: str
    space_id: str
    shard: int | None = None
    place: str = ""

    @property
    def name(self) -> str:
        """Of the lease and the folder of plans: one of each for every place of a pipeline."""
        return f"{self.pipeline}.{self.place}" if self.place else self.pipeline

    def excludes(self, other: "Lane") -> bool:
        """Whether no two runs may work on both at once.

        Two spaces at the same path do: each would undo what the other does.
        """
        if self.name != other.name:
            return False
        if self.space_id != other.space_id:
            return True
        return None in (self.shard, other.shard) or self.shard == other.shard

    def __str__(self) -> str:
        piece = "" if self.shard is None else f"shard {self.shard} of "
        if self.shard == SHARED:
            piece = "what the shards share of "
        beside = f", in the space {self.space_id} beside" if self.place else ""
        return f"{piece}the pipeline {self.pipeline}{beside}"


Finished = Callable[[str], bool | None]
"""Tells whether a run has ended; None where that is not known."""


def unknown(run: str) -> None:
    """Of no run it is known whether it has ended."""
