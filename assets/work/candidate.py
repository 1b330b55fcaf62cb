"""Build a space beside the one that serves: what the four assets do, in one step."""

from collections.abc import Sequence
from dataclasses import dataclass

from assets.work import spaces
from assets.work.behind import Standing, standings
from assets.work.comparing import Planned, plan_work
from assets.work.embedding import Embedded, embed
from assets.work.opened import Opened
from assets.work.proving import Indexed, index
from assets.work.storing import Stored, store
from resources.registry.pipeline_spaces import SpaceEntry


@dataclass(frozen=True)
class Candidate:
    """What the asset `candidate_space` comes to.

    Attributes:
        entry: The space as it is noted now.
        serving: Id of the space that serves meanwhile.
        resumed: It was begun by a run before.
        spaces: All that the pipeline has now.
    """

    planned: Planned
    embedded: Embedded
    stored: Stored
    indexed: Indexed
    entry: SpaceEntry
    serving: str
    resumed: bool
    spaces: Sequence[Standing]

    @property
    def changes(self) -> int:
        """Vectors, documents and entries of the quarantine that were written or removed."""
        batches = self.embedded.embedded + self.embedded.copied
        return max(self.planned.healed, batches, self.stored.written.changes)


def build(o: Opened) -> Candidate:
    """Bring the candidate up to date, as far as it goes.

    Args:
        o: In the candidate's space, which is held.

    Raises:
        EmbeddingsError: As the functions of the four assets; what was written before is kept.
    """
    known = o.record.entry(o.space.id)
    resumed = known is not None and not known.retired
    planned = plan_work(o)
    embedded = embed(o)
    stored = store(o)
    indexed = index(o)
    entry = spaces.complete(o, indexed.report.indexed)
    there = standings(o.again())
    serving = o.record.serving or ""
    return Candidate(planned, embedded, stored, indexed, entry, serving, resumed, there)
