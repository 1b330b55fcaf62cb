"""The identity of work: whose it is, in which space, and which piece of it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """One space of one pipeline, or a piece of it.

    Ownership, quarantine, ledger and fencing token go by pipeline and space: `shard` divides
    leases, plans and jobs only, or a change of the number of shards would disown every document.

    Attributes:
        pipeline: Its name.
        space_id: Of the space that its vectors are in.
        shard: Which piece; None for all of them, as planning needs them.
    """

    pipeline: str
    space_id: str
    shard: int | None = None

    def excludes(self, other: "Lane") -> bool:
        """Whether no two runs may work on both at once.

        Two spaces of one pipeline do, since both may be told to write at the same path: each would
        undo what the other does. This is the one place to let in a second space that has a path of
        its own.
        """
        if self.pipeline != other.pipeline:
            return False
        if self.space_id != other.space_id:
            return True
        return None in (self.shard, other.shard) or self.shard == other.shard

    def __str__(self) -> str:
        piece = "" if self.shard is None else f"shard {self.shard} of "
        return f"{piece}the pipeline {self.pipeline}"


Finished = Callable[[str], bool | None]
"""Tells whether a run has ended; None where that is not known."""


def unknown(run: str) -> None:
    """Of no run it is known whether it has ended."""
