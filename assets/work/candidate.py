"""Build a space beside the one that serves: what the four assets do, in one step."""

from dataclasses import dataclass

from assets.work import spaces
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
    """

    planned: Planned
    embedded: Embedded
    stored: Stored
    indexed: Indexed
    entry: SpaceEntry
    serving: str


def build(o: Opened) -> Candidate:
    """Bring the candidate up to date, as far as it goes.

    Args:
        o: In the candidate's space, which is held.

    Raises:
        EmbeddingsError: As the functions of the four assets; what was written before is kept.
    """
    planned = plan_work(o)
    embedded = embed(o)
    stored = store(o)
    indexed = index(o)
    entry = spaces.complete(o, indexed.report.indexed)
    return Candidate(planned, embedded, stored, indexed, entry, o.record.serving or "")
