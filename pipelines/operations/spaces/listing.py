"""Which spaces a pipeline has, and how that came about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.work.opened import Opened
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.spaces.changing import opened_to_change
from resources.embedders.members import described
from resources.registry.pipeline_spaces import Change, SpaceEntry, State, placed


@dataclass(frozen=True)
class Listed:
    """One space.

    Attributes:
        path: Where its vectors lie in a document.
        index: Name of its index.
        wanted: The settings want it: the next run works on it.
        members: Who embeds documents and who queries, where these are models of one family.
    """

    entry: SpaceEntry
    state: State
    path: str
    index: str
    wanted: bool
    members: str = ""


@dataclass(frozen=True)
class Spaces:
    """All spaces of a pipeline, the serving one first.

    Attributes:
        store: `database.collection`.
        history: Every change of them, the oldest first; empty unless it was asked for.
    """

    pipeline: str
    store: str
    spaces: Sequence[Listed]
    history: Sequence[Change] = ()


_ORDER: Sequence[State] = ("serving", "previous", "ready", "building", "retired")


def spaces(
    pipeline: EmbeddingPipeline | str,
    *,
    history: bool = False,
    overrides: Sequence[str | Path] = (),
) -> Spaces:
    """The spaces of a pipeline.

    Args:
        pipeline: Itself or its name.
        history: With every change of them.
        overrides: YAML run configs merged on top of the pipeline's own.

    Raises:
        EmbeddingsError: Wrong settings, no server.
    """
    with opened_to_change(pipeline, "spaces", overrides) as o:
        record = o.record
        found = [_listed(o, entry) for entry in record.entries()]
        found.sort(key=lambda each: (_ORDER.index(each.state), each.entry.space_id))
        told = o.registry.of_pipelines.history(o.name) if history else []
        mine = [each for each in told if each.store == str(record.store)]
        where = f"{o.base_key.database}.{o.base_key.collection}"
        return Spaces(o.name, where, found, mine)


def _listed(o: Opened, entry: SpaceEntry) -> Listed:
    place = entry.place
    lanes = o.lanes
    how = next(iter((entry.embedder or {}).values()), {})
    wanted = place == (lanes.place if lanes.candidate is None else lanes.candidate)
    return Listed(
        entry,
        o.record.state(entry.space_id),
        entry.path(o.base_key.path),
        placed(o.search_index.name, place),
        wanted and not entry.retired,
        described(entry.models, str(how.get("model"))) if entry.models else "",
    )
