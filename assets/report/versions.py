"""Data versions of the assets: the same where nothing has changed, so that what follows is fresh.

Each goes by what is there when its step has ended, and by no clock or run. `source_documents`: what
the source holds, as it is cut and carried, and the space it was planned for. `embedding_batches`:
the same, and how many of its chunks have a vector. `stored_vectors`: the store's revision in the
registry, which changes with every write; of a shard, what it holds of the source. `search_index`:
the store's revision, and what the index was built by.
"""

import hashlib
import json
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import extract_data_version_from_entry

from assets.report.outcomes import Outcome
from assets.work.candidate import Candidate
from assets.work.comparing import Planned
from assets.work.embedded import Embedded
from assets.work.opened import Opened
from assets.work.proving import Indexed
from assets.work.quality import Measured
from assets.work.storing import Stored


def version(
    o: Opened, outcome: Outcome, context: dg.AssetExecutionContext
) -> dg.DataVersion | None:
    """Of what a step has come to.

    Args:
        o: In the space that it worked in, still open.
        outcome: Of the step.
        context: Of the step.
    """
    if _idle(o, outcome) and o.plan.ids is not None:
        return last(context)  # of all the others nothing is known anew
    match outcome:
        case Planned():
            return _of(o, outcome.plan.counts.get("contents"))
        case Embedded():
            return _of(o, o.plan.counts.get("contents"), outcome.chunks)
        case Stored() if o.shard is not None:  # other shards change the store's revision
            counts = o.plan.counts
            return _of(o, counts.get("contents"), outcome.of_shard, outcome.aside)
        case Stored():
            return _of(o, _revision(o))
        case Indexed() | Candidate():
            entry = o.registry.indexes.get(o.index_key)
            made = entry and [entry.engine, entry.fingerprint, entry.definition]
            return _of(o, _revision(o), made, entry and entry.text_definition)
        case Measured():
            return dg.DataVersion(outcome.evaluation.id)


def _idle(o: Opened, outcome: Outcome) -> bool:
    """Whether a step goes by what its plan compares, and there is nothing to do."""
    match outcome:
        case Planned():
            return not outcome.plan.parts and not any(outcome.work.values())
        case Stored():
            return o.shard is not None and not o.plan.parts
        case Embedded():
            return not o.plan.parts
        case _:
            return False


def last(context: dg.AssetExecutionContext) -> dg.DataVersion | None:
    """The one that the asset has already, for a step that leaves it as it is."""
    shard = context.partition_key if context.assets_def.partitions_def else None
    event = context.instance.get_latest_data_version_record(context.asset_key, partition_key=shard)
    return extract_data_version_from_entry(event.event_log_entry) if event else None


def _revision(o: Opened) -> str | None:
    held = o.registry.stores.get(o.store.key)
    return held.revision if held else None


def _of(o: Opened, *parts: Any) -> dg.DataVersion:
    """Of a space: its id is in clear, to be read in the UI."""
    whole = json.dumps([o.space.id, str(o.store.format), *parts], default=str, sort_keys=True)
    return dg.DataVersion(f"{o.space.id}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}")
