"""Data versions of the assets: the same where nothing has changed, so that what follows is fresh.

Each goes by what is there when its step has ended, and by no clock or run. `source_documents`: what
the source holds, as it is cut and carried, and the space it was planned for. `embedding_batches`:
the same, and how many of its chunks have a vector. `stored_vectors`: the store's revision in the
registry, which changes with every write. `search_index`: the same, and what the index was built by.
"""

import hashlib
import json
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import extract_data_version_from_entry

from assets.report.outcomes import Outcome
from assets.work.candidate import Candidate
from assets.work.comparing import Planned
from assets.work.embedding import Embedded
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
    if isinstance(outcome, Planned | Embedded) and o.plan.ids is not None and not o.plan.parts:
        return last(context)  # of all the others nothing is known anew
    match outcome:
        case Planned():
            return _of(o, outcome.plan.counts.get("contents"))
        case Embedded():
            return _of(o, o.plan.counts.get("contents"), outcome.chunks)
        case Stored():
            return _of(o, _revision(o))
        case Indexed() | Candidate():
            entry = o.registry.indexes.get(o.index_key)
            made = entry and [entry.engine, entry.fingerprint, entry.definition]
            return _of(o, _revision(o), made, entry and entry.text_definition)
        case Measured():
            return dg.DataVersion(outcome.evaluation.id)


def last(context: dg.AssetExecutionContext) -> dg.DataVersion | None:
    """The one that the asset has already, for a step that leaves it as it is."""
    event = context.instance.get_latest_data_version_record(context.asset_key)
    return extract_data_version_from_entry(event.event_log_entry) if event else None


def _revision(o: Opened) -> str | None:
    held = o.registry.stores.get(o.store.key)
    return held.revision if held else None


def _of(o: Opened, *parts: Any) -> dg.DataVersion:
    """Of a space: its id is in clear, to be read in the UI."""
    whole = json.dumps([o.space.id, str(o.store.format), *parts], default=str, sort_keys=True)
    return dg.DataVersion(f"{o.space.id}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}")
