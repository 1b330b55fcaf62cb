"""Build a space beside the one that serves: what the four assets do, in one step."""

from collections.abc import Sequence
from dataclasses import dataclass

from assets.work import spaces
from assets.work.alongside import Alongside, alongside
from assets.work.comparing import Planned, plan_work
from assets.work.embedded import Embedded
from assets.work.embedding import embed
from assets.work.opened import Opened
from assets.work.proving import Indexed, index
from assets.work.storing import Stored, store
from resources.core.errors import SearchIndexError
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
    spaces: Sequence[Alongside]

    @property
    def changes(self) -> int:
        """Vectors, documents and entries of the quarantine that were written or removed."""
        batches = self.embedded.embedded + self.embedded.copied + self.embedded.narrowed
        return max(self.planned.healed, batches, self.stored.written.changes)


def _make_room(o: Opened) -> None:
    """Let the server make the index before anything is spent: only it knows how many it takes.

    Raises:
        SearchIndexError: It takes no more.
    """
    engine = o.wanted_engine
    if engine.name != "mongodb" or o.registry.indexes.get(o.index_key) is not None:
        return
    try:
        engine.reconcile(o.log, o.lease)
    except SearchIndexError as error:
        raise SearchIndexError(
            f"{error}; nothing is embedded in the space {o.space.id}, and {o.record.serving} "
            "serves as before; where there is no room for two, `model_change: {mode: replace}` "
            "needs none"
        ) from error


def build(o: Opened) -> Candidate:
    """Bring the candidate up to date, as far as it goes.

    Args:
        o: In the candidate's space, which is held.

    Raises:
        EmbeddingsError: As the functions of the four assets; what was written before is kept.
    """
    known = o.record.entry(o.space.id)
    resumed = known is not None and not known.retired
    _make_room(o)
    planned = plan_work(o)
    embedded = embed(o)
    stored = store(o)
    indexed = index(o)
    entry = spaces.complete(o, indexed.report.indexed)
    there = alongside(o.again())
    serving = o.record.serving or ""
    return Candidate(planned, embedded, stored, indexed, entry, serving, resumed, there)
