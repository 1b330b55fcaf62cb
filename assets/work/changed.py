"""Which records a run compares alone, and whether the rest is as a run before has left it.

To compare some records is as good as to compare all of them only where all were compared before, by
the same settings, and what came of that was carried to its end. Else the whole source is compared.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assets.work.opened import Opened
from assets.work.plan import Plan
from assets.work.versions import CODE
from resources.core.contents import Contents
from resources.core.errors import BatchStoreError
from resources.core.keys import key
from resources.core.space import EmbeddingSpace
from resources.registry.quarantine import Documents
from resources.sources.changes import fits, written


@dataclass(frozen=True)
class Some:
    """Records that are compared alone.

    Attributes:
        ids: Theirs, each once; with those of a run before that has not come to its end.
        deleted_before: Chunks that went with their documents since the whole source was compared.
        contents: Digest of the source's contents before.
    """

    ids: Sequence[Any]
    deleted_before: int
    contents: str

    def noted(self) -> dict[str, Any]:
        """As a plan's counts have it."""
        ids = [written(each) for each in self.ids]
        return {"ids": ids, "deleted_before": self.deleted_before, "contents": self.contents}

    def now(self, contents: Contents, *, changed: bool) -> str:
        """A digest of the source's contents, where some of them may have changed.

        What those records held before is not known any more: it is another one after every change.
        """
        if not changed:
            return self.contents
        after = Contents()
        after.add(self.contents, contents.digest(), *sorted(key(each) for each in self.ids))
        return after.digest()


def some(o: Opened) -> Some | None:
    """The records that the run is to compare alone; None for all, of which the log is told why."""
    ids = o.source.changes.wanted()
    if not ids:
        return None
    try:
        before = o.batches.plans.newest(o.lane.name, shard=o.lane.shard)
    except BatchStoreError:
        return _all(o, ids, "no run before has compared it")
    counts = before["counts"]
    space = EmbeddingSpace.from_document(before["space"])
    if space.id != o.space.id or counts.get("settings") != settings(o):
        return _all(o, ids, "the run before had other settings, or is of an earlier version")
    entry = o.record.entry(o.space.id)
    done = entry is not None and entry.run == before["run"]
    if done and entry is not None and entry.missing:
        return _all(o, ids, f"{entry.missing:,} of its chunks had no vector before")
    if "some" not in counts:
        if not counts["whole"]:
            return _all(o, ids, "the run before has not read it to its end")
        if not done:
            return _all(o, ids, f"the run before, {before['run']}, has not come to its end")
        return Some(ids, 0, counts["contents"])
    known = counts["some"]
    if done:
        return Some(ids, known["deleted_before"] + counts["deleted"], counts["contents"])
    undone = Plan("", "", "", space, counts, []).ids or []
    both = list({key(each): each for each in [*ids, *undone]}.values())
    if not fits([written(each) for each in both]):
        return _all(o, ids, "runs before have not come to their end, and left too much")
    return Some(both, known["deleted_before"], counts["contents"])


def _all(o: Opened, ids: Sequence[Any], why: str) -> None:
    o.log(f"the whole source is compared, and not {len(ids):,} records of it alone: {why}")


def documents(o: Opened, plan: Plan) -> Documents | None:
    """The records that a plan is of, as the quarantine takes them; None for all of the source."""
    return None if plan.ids is None else Documents(plan.ids, bool(o.store.chunker))


def settings(o: Opened) -> str:
    """A name of all that decides what a comparison comes to, besides source and store."""
    source, store = o.source, o.vector_store
    by: dict[str, Any] = {
        "source": source.model_dump(exclude={"changes"}, exclude_unset=False, mode="json"),
        "space": o.space.to_document(),
        "store": [str(o.store.key), str(store.format(o.space)), store.in_place, store.adopt],
        "apart": o.apart,
        "truncates": o.embedder.truncates,
        "code": dict(CODE),
    }
    return hashlib.sha256(json.dumps(by, sort_keys=True, default=str).encode()).hexdigest()[:16]
