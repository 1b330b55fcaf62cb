"""Which records a run compares alone, and whether the rest is as a run before has left it.

To compare some records is as good as to compare all of them only where all were compared before, by
the same settings, and what came of that was carried to its end. Else the whole source is compared.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.work.opened import Opened
from assets.work.plan import Plan
from assets.work.versions import CODE
from resources.core.contents import Contents
from resources.core.errors import BatchStoreError
from resources.core.keys import decode, encode, key
from resources.core.shards import shard_of
from resources.core.space import EmbeddingSpace
from resources.registry.quarantine import Documents
from resources.sources.changes import fits


@dataclass(frozen=True)
class Some:
    """Records that are compared alone.

    Attributes:
        ids: Theirs, each once; with those of a run before that has not come to its end.
        deleted_before: Chunks that went with their documents since the whole source was compared.
        contents: Digest of the source's contents before; `of_shards`: of what each shard holds.
    """

    ids: Sequence[Any]
    deleted_before: int
    contents: str
    of_shards: Sequence[str] = ()

    def counts(self, found: str, *, changed: bool, shard: int | None = None) -> dict[str, Any]:
        """What a plan's counts have of it, or those of a shard of the plan.

        Args:
            found: Digest of the contents of these records.
            changed: There is something to do.
            shard: Of these, whose records belong to it.
        """
        ids, before = self.ids, self.contents
        if shard is not None:
            ids = [each for each in ids if shard_of(each, len(self.of_shards)) == shard]
            before = self.of_shards[shard]
        return {
            "some": {
                "ids": [encode(each) for each in ids],
                "deleted_before": self.deleted_before,
                "contents": before,
            },
            "contents": _after(before, found, ids) if changed else before,
        }


def _after(before: str, found: str, ids: Sequence[Any]) -> str:
    """A digest of contents of which some have changed.

    What those records held before is not known any more: it is another one after every change.
    """
    after = Contents()
    after.add(before, found, *sorted(key(each) for each in ids))
    return after.digest()


def some(o: Opened, asked: str) -> Some | None:
    """The records that the run is to compare alone; None for all, of which the log is told why.

    Args:
        o: The pipeline.
        asked: By what name all of the source was asked for; empty where it was not.
    """
    ids = o.source.changes.wanted()
    if not ids:
        return None
    try:
        before = o.batches.plans.newest(o.lane.name)
    except BatchStoreError:
        return _all(o, ids, "no run before has compared it")
    changes, plans = o.source.changes, o.registry.plans
    if asked:
        return _all(o, ids, "entries of the quarantine were dropped")
    if changes.until and not plans.followed(o.lane, before["id"], changes.after):
        return _all(o, ids, "it was not worked on while documents changed before")
    counts = before["counts"]
    if EmbeddingSpace.from_document(before["space"]).id != o.space.id or counts.get(
        "settings"
    ) != settings(o):
        return _all(o, ids, "the run before had other settings, or is of an earlier version")
    entry = o.record.entry(o.space.id)
    done = plans.carried_out(o.lane, before["id"], o.shards)
    if done and entry is not None and entry.missing:
        return _all(o, ids, f"{entry.missing:,} of its chunks had no vector before")
    known, deleted = counts.get("some"), 0
    if known is None:
        if not counts["whole"]:
            return _all(o, ids, "the run before has not read it to its end")
        if not done:
            return _all(o, ids, f"the run before, {before['run']}, has not come to its end")
    else:
        gone = counts["deleted"] if done else _deleted(o, before["id"], counts)
        deleted = known["deleted_before"] + gone
        if not done:
            undone = map(decode, known["ids"])
            ids = list({key(each): each for each in [*ids, *undone]}.values())
            if not fits([encode(each) for each in ids]):
                return _all(o, ids, "runs before have not come to their end, and left too much")
    return Some(ids, deleted, counts["contents"], _of_shards(o, before["id"]))


def _deleted(o: Opened, plan: str, counts: Mapping[str, Any]) -> int:
    """Chunks that a plan has taken away, which has not come to its end."""
    missing = set(o.registry.plans.not_stored(o.lane, plan, o.shards))
    if o.shards == 1:
        return 0 if missing else counts["deleted"]
    stored = [n for n in range(o.shards) if n not in missing]
    return sum(o.batches.plans.of_shard(o.lane.name, plan, n)["counts"]["deleted"] for n in stored)


def _of_shards(o: Opened, plan: str) -> list[str]:
    """Digests of what the shards of a plan hold; none where there are no shards."""
    plans, shards = o.batches.plans, range(o.shards) if o.shards > 1 else ()
    return [plans.of_shard(o.lane.name, plan, n)["counts"]["contents"] for n in shards]


def _all(o: Opened, ids: Sequence[Any], why: str) -> None:
    o.log(f"the whole source is compared, and not {len(ids):,} records of it alone: {why}")


def documents(o: Opened, plan: Plan) -> Documents | None:
    """The records that a plan is of, as the quarantine takes them; None for all of the source."""
    return None if plan.ids is None else Documents(plan.ids, bool(o.store.chunker))


def settings(o: Opened) -> str:
    """A name of all that decides what a comparison comes to, besides source and store."""
    source, store = o.source, o.vector_store
    by: dict[str, Any] = {
        # A space beside may have another chunker than the class has by default.
        "source": source.model_dump(exclude={"changes"}, mode="json", warnings=False),
        "space": o.space.to_document(),
        "store": [str(o.store.key), str(store.format(o.space)), store.in_place, store.adopt],
        "apart": o.apart,
        "truncates": o.embedder.truncates,
        "shards": o.shards,
        "code": dict(CODE),
    }
    return hashlib.sha256(json.dumps(by, sort_keys=True, default=str).encode()).hexdigest()[:16]
