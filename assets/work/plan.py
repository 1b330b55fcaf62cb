"""The plan on disk: what `source_documents` decided, for the assets after it to carry out."""

import dataclasses
from collections.abc import Callable, Sequence
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
from resources.core.lane import Lane
from resources.core.shards import SHARED, shard_name
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
        id: The same for all shards of a plan.
        run: That made it.
        counts: What the comparison found, see `Counts`; besides how many records were `rejected`,
            whether the `whole` source was read, the digest of its `contents`, a name of the
            `settings` it was compared by, and where it is of `some` records, which. Earlier
            versions did not note those.
        shards: In how many it is divided, which have all of its parts then.
        shard: Which of them this is, or `SHARED`.
    """

    id: str
    pipeline: str
    run: str
    space: EmbeddingSpace
    counts: dict[str, Any]
    parts: list[PlannedPart]
    shard: int | None = None
    place: str = ""
    shards: int = 1

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

    @property
    def share(self) -> float:
        """Of what the whole plan has to embed, by its tokens; 1 without shards."""
        whole = 0 if self.shard is None else self.counts["tokens_of_all"]
        return sum(part.tokens for part in self.of_kind("embed")) / whole if whole else 1.0

    def chunks(self, *kinds: PartKind) -> int:
        return sum(part.chunks for part in self.of_kind(*kinds))


class PlanWriter:
    """Writes part after part; nobody sees the plan before `finish`.

    Args:
        lane: Whose plan it is.
        run: That makes it, and will read it.
        space: That of the lane.
        shards: In how many it is divided.

    Attributes:
        parts: What was written, by shard; of None where there are none.
    """

    def __init__(
        self,
        store: BatchStore,
        *,
        lane: Lane,
        run: str,
        space: EmbeddingSpace,
        shards: int = 1,
    ) -> None:
        self._plans = store.plans
        self._lane, self._run, self._space = lane, run, space
        self._id = version_name()
        self.parts: dict[int | None, list[PlannedPart]] = {None: []}
        if shards > 1:
            self.parts |= {shard: [] for shard in (SHARED, *range(shards))}
        self._shards = shards

    def add(self, part: Part, shard: int = 0) -> None:
        """Write a part, of a shard where there are several."""
        of = shard if self._shards > 1 else None
        parts = self.parts[of]
        name = f"{len(parts):06d}" if of is None else f"{_named(of)}-{len(parts):06d}"
        rows = [
            (encode(chunk.id), encode(chunk.source_id), chunk.text, chunk.text_hash,
             encode(dict(chunk.fields)), chunk.fields_hash)
            for chunk in part.chunks
        ]  # fmt: skip
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        table = pa.Table.from_arrays(columns, schema=_SCHEMA)
        self._plans.write_part(self._lane.name, self._id, name, table)
        tokens = sum(estimate_tokens(chunk.text) for chunk in part.chunks)
        parts.append(PlannedPart(name, part.kind, part.batch, len(rows), tokens, part.origin))

    def work(self) -> dict[str, int]:
        """How many parts each shard has, by its name; empty where there are none."""
        return {
            shard_name(shard, self._shards): len(parts)
            for shard, parts in self.parts.items()
            if shard is not None and shard != SHARED
        }

    def finish(
        self,
        counts: dict[str, Any],
        of_shards: Sequence[dict[str, Any]] = (),
    ) -> Plan:
        """Make it the lane's newest plan, and that of the run.

        Args:
            counts: What the comparison found.
            of_shards: What it found of each shard.
        """
        whole = self._plan(None, counts)
        # What a run may spend is for the whole plan: each shard has its share of it.
        parts = [part for parts in self.parts.values() for part in parts if part.kind == "embed"]
        tokens = {"tokens_of_all": sum(part.tokens for part in parts)}
        counted = {SHARED: tokens} | {n: {**each, **tokens} for n, each in enumerate(of_shards)}
        self._plans.finish(
            self._lane.name,
            whole.id,
            self._manifest(whole),
            run=self._run,
            shards={
                shard: self._manifest(self._plan(shard, counted[shard]))
                for shard in self.parts
                if shard is not None
            },
        )
        return whole

    def _plan(self, shard: int | None, counts: dict[str, Any]) -> Plan:
        pipeline, place = self._lane.pipeline, self._lane.place
        parts, shards = self.parts[shard], self._shards
        return Plan(self._id, pipeline, self._run, self._space, counts, parts, shard, place, shards)

    def _manifest(self, plan: Plan) -> dict[str, Any]:
        return {
            **{name: getattr(plan, name) for name in ("id", "pipeline", "shard", "run", "counts")},
            "space": self._space.to_document(),
            "parts": [dataclasses.asdict(part) for part in plan.parts],
            **({"shards": plan.shards} if plan.shards > 1 else {}),
        }


def _named(shard: int) -> str:
    return "shared" if shard == SHARED else str(shard)


def plan_of_run(
    store: BatchStore,
    lane: Lane,
    space: EmbeddingSpace,
    run: str,
    *,
    shards: int = 1,
    pin: bool = True,
    log: Callable[[str], object] = lambda line: None,
    check: Callable[[str | None], object] = lambda newest: None,
) -> Plan:
    """The plan that a run made; else the newest that is finished, the same one for all its steps.

    Args:
        store: Where plans lie.
        lane: Whose.
        space: That the embedder makes.
        run: Who reads it; where it pins one, it holds the pipeline.
        shards: In how many the pipeline is divided.
        pin: Stay with it from now on; else a plan that another run finishes may be the next.
        log: Told which plan it is where another run made it.
        check: Told the newest plan that is found, where the run has none yet; None: there is none.

    Raises:
        BatchStoreError: There is none, or it was made for another space or number of shards.
    """
    pipeline, shard = lane.pipeline, lane.shard
    manifest = store.plans.pinned(lane.name, run=run)
    known = manifest is not None
    if manifest is None:
        check(store.plans.newest_name(lane.name))
    manifest = manifest or store.plans.newest(lane.name)
    made_for = manifest.get("shards", 1)
    if made_for != shards:
        raise BatchStoreError(
            f"the newest plan of {pipeline} was made when it had {_shards(made_for)}, and it has "
            f"{_shards(shards)} now: materialize {pipeline}/source_documents first, which "
            "divides anew what is still to be done"
        )
    planned = EmbeddingSpace.from_document(manifest["space"])
    # A store from before servers were told apart keeps its space: see `Stores.settled_space`.
    if planned not in (space, space.without_endpoint()):
        raise BatchStoreError(
            f"the plan of {pipeline} was made for the space {planned.id}, but the embedder makes "
            f"{space.id} ({space.difference(planned)}): materialize {pipeline}/source_documents "
            "with the same run config first"
        )
    if shard is not None:
        manifest = store.plans.of_shard(lane.name, manifest["id"], shard)
    plan = Plan(
        manifest["id"],
        pipeline,
        manifest["run"],
        planned,
        manifest["counts"],
        [PlannedPart(**part) for part in manifest["parts"]],
        shard,
        lane.place,
        shards,
    )
    if plan.run != run and shards == 1:  # else no run that carries it out has made it
        log(f"this run has made no plan: it carries out {plan.id}, made by the run {plan.run}")
    if pin and not known:
        store.plans.pin(lane.name, plan.id, run=run)
    return plan


def _shards(number: int) -> str:
    return f"{number} shards" if number > 1 else "no shards"


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


def read_ids(store: BatchStore, plan: Plan, part: PlannedPart) -> list[Any]:
    """The ids of a part's chunks."""
    table = store.plans.read_part(plan.lane.name, plan.id, part.name, ["chunk_id"])
    return [decode(text) for text in table["chunk_id"].to_pylist()]


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
