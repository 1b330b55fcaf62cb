"""The plan on disk: what `source_documents` decided, for the assets after it to carry out."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pyarrow as pa

from assets.work.planning import Part, PartKind
from resources.batch_store.files import version_name
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk
from resources.core.errors import BatchStoreError
from resources.core.keys import decode, encode
from resources.core.lane import Finished, Lane, unknown
from resources.core.space import EmbeddingSpace
from resources.embedders.packing import estimate_tokens

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in
     ("chunk_id", "source_id", "text", "text_hash", "fields", "fields_hash")]
)  # fmt: skip


@dataclass(frozen=True)
class PlannedPart:
    """A part's entry in the manifest; its chunks lie in a file of their own.

    Its tokens are estimated from the characters; `origin` as that of `Part`.
    """

    name: str
    kind: PartKind
    batch: str
    chunks: int
    tokens: int
    origin: str = ""


@dataclass(frozen=True)
class Plan:
    """What a lane has to do.

    Attributes:
        run: That made it.
        counts: What the comparison found, see `Counts`; besides how many records were `rejected`,
            whether the `whole` source was read, the digest of its `contents`, a name of the
            `settings` it was compared by, and where it is of `some` records, which. Earlier
            versions did not note those.
    """

    id: str
    pipeline: str
    run: str
    space: EmbeddingSpace
    counts: dict[str, Any]
    parts: list[PlannedPart]
    shard: int | None = None
    place: str = ""

    @property
    def lane(self) -> Lane:
        return Lane(self.pipeline, self.space.id, self.shard, self.place)

    @property
    def ids(self) -> list[Any] | None:
        """Of the records that were compared; None where it is of the source, not of some alone."""
        some = self.counts.get("some")
        return None if some is None else [decode(each) for each in some["ids"]]

    def of_kind(self, *kinds: PartKind) -> list[PlannedPart]:
        return [part for part in self.parts if part.kind in kinds]

    def chunks(self, *kinds: PartKind) -> int:
        return sum(part.chunks for part in self.of_kind(*kinds))


class PlanWriter:
    """Writes part after part; nobody sees the plan before `finish`.

    Args:
        lane: Whose plan it is.
        run: That makes it, and will read it.
        space: That of the lane.

    Attributes:
        parts: What was written.
    """

    def __init__(self, store: BatchStore, *, lane: Lane, run: str, space: EmbeddingSpace) -> None:
        self._plans = store.plans
        self._lane, self._run, self._space = lane, run, space
        self._id = version_name()
        self.parts: list[PlannedPart] = []

    def add(self, part: Part) -> None:
        name = f"{len(self.parts):06d}"
        rows = [
            (encode(chunk.id), encode(chunk.source_id), chunk.text, chunk.text_hash,
             encode(dict(chunk.fields)), chunk.fields_hash)
            for chunk in part.chunks
        ]  # fmt: skip
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        table = pa.Table.from_arrays(columns, schema=_SCHEMA)
        self._plans.write_part(self._lane.name, self._id, name, table)
        tokens = sum(estimate_tokens(chunk.text) for chunk in part.chunks)
        made = PlannedPart(name, part.kind, part.batch, len(rows), tokens, part.origin)
        self.parts.append(made)

    def finish(self, counts: dict[str, Any], finished: Finished = unknown) -> Plan:
        """Make it the lane's newest plan, and that of the run.

        Args:
            counts: What the comparison found.
            finished: Tells whether a run has ended that may still read an older plan.
        """
        pipeline, shard = self._lane.pipeline, self._lane.shard
        plan = Plan(
            self._id, pipeline, self._run, self._space, counts, self.parts, shard, self._lane.place
        )
        manifest = {
            **{name: getattr(plan, name) for name in ("id", "pipeline", "shard", "run", "counts")},
            "space": self._space.to_document(),
            "parts": [dataclasses.asdict(part) for part in self.parts],
        }
        self._plans.finish(
            self._lane.name, plan.id, manifest, run=self._run, shard=shard, finished=finished
        )
        return plan


def plan_of_run(
    store: BatchStore,
    lane: Lane,
    space: EmbeddingSpace,
    run: str,
    *,
    pin: bool = True,
    log: Callable[[str], object] = lambda line: None,
) -> Plan:
    """The plan that a run made; else the newest that is finished, the same one for all its steps.

    Args:
        store: Where plans lie.
        lane: Whose.
        space: That the embedder makes.
        run: Who reads it; where it pins one, it holds the pipeline.
        pin: Stay with it from now on; else a plan that another run finishes may be the next.
        log: Told which plan it is where another run made it.

    Raises:
        BatchStoreError: There is none, or it was made for another space.
    """
    pipeline, shard = lane.pipeline, lane.shard
    manifest = store.plans.pinned(lane.name, run=run, shard=shard)
    known = manifest is not None
    manifest = manifest or store.plans.newest(lane.name, shard=shard)
    planned = EmbeddingSpace.from_document(manifest["space"])
    # A store from before servers were told apart keeps its space: see `Stores.settled_space`.
    if planned not in (space, space.without_endpoint()):
        raise BatchStoreError(
            f"the plan of {pipeline} was made for the space {planned.id}, but the embedder makes "
            f"{space.id} ({space.difference(planned)}): materialize {pipeline}/source_documents "
            "with the same run config first"
        )
    plan = Plan(
        manifest["id"],
        pipeline,
        manifest["run"],
        planned,
        manifest["counts"],
        [PlannedPart(**part) for part in manifest["parts"]],
        shard,
        lane.place,
    )
    if plan.run != run:
        log(f"this run has made no plan: it carries out {plan.id}, made by the run {plan.run}")
    if pin and not known:
        store.plans.pin(lane.name, plan.id, run=run, shard=shard)
    return plan


def read_chunks(store: BatchStore, plan: Plan, part: PlannedPart) -> list[Chunk]:
    return _chunks(store.plans.read_part(plan.lane.name, plan.id, part.name))


def read_texts(store: BatchStore, plan: Plan, part: PlannedPart) -> list[Chunk]:
    """The chunks of a part without what they carry, which embedding has no use for."""
    names = [name for name in _SCHEMA.names if name != "fields"]
    return _chunks(store.plans.read_part(plan.lane.name, plan.id, part.name, names))


def read_hashes(store: BatchStore, plan: Plan, part: PlannedPart) -> list[str]:
    """The hashes of a part's texts."""
    table = store.plans.read_part(plan.lane.name, plan.id, part.name, ["text_hash"])
    return table["text_hash"].to_pylist()


def _chunks(table: pa.Table) -> list[Chunk]:
    columns = {name: table[name].to_pylist() for name in table.column_names}
    chunk_ids = [decode(text) for text in columns["chunk_id"]]
    source_ids = chunk_ids
    if columns["chunk_id"] != columns["source_id"]:  # without chunking the two are the same
        source_ids = [decode(text) for text in columns["source_id"]]
    fields = map(decode, columns["fields"]) if "fields" in columns else repeat({})
    return [
        Chunk(*values)
        for values in zip(
            chunk_ids, source_ids, columns["text"], columns["text_hash"], fields,
            columns["fields_hash"], strict=False,
        )
    ]  # fmt: skip
