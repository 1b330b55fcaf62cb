"""The plan on disk: what `source_documents` decided, for the assets after it to carry out."""

import dataclasses
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
from resources.core.space import EmbeddingSpace
from resources.embedders.packing import estimate_tokens

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in
     ("chunk_id", "source_id", "text", "text_hash", "fields", "fields_hash")]
)  # fmt: skip


@dataclass(frozen=True)
class PlannedPart:
    """A part's entry in the manifest; its chunks lie in a file of their own.

    Its tokens are estimated from the characters.
    """

    name: str
    kind: PartKind
    batch: str
    chunks: int
    tokens: int


@dataclass(frozen=True)
class Plan:
    id: str
    pipeline: str
    run: str
    space: EmbeddingSpace
    counts: dict[str, Any]
    parts: list[PlannedPart]

    def of_kind(self, *kinds: PartKind) -> list[PlannedPart]:
        return [part for part in self.parts if part.kind in kinds]

    def chunks(self, *kinds: PartKind) -> int:
        return sum(part.chunks for part in self.of_kind(*kinds))


class PlanWriter:
    """Writes part after part; nobody sees the plan before `finish`."""

    def __init__(
        self, store: BatchStore, *, pipeline: str, run: str, space: EmbeddingSpace
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._run = run
        self._space = space
        self._id = version_name()
        self._parts: list[PlannedPart] = []

    def add(self, part: Part) -> None:
        name = f"{len(self._parts):06d}"
        rows = [
            (encode(chunk.id), encode(chunk.source_id), chunk.text, chunk.text_hash,
             encode(dict(chunk.fields)), chunk.fields_hash)
            for chunk in part.chunks
        ]  # fmt: skip
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        table = pa.Table.from_arrays(columns, schema=_SCHEMA)
        self._store.write_part(self._pipeline, self._id, name, table)
        tokens = sum(estimate_tokens(chunk.text) for chunk in part.chunks)
        self._parts.append(PlannedPart(name, part.kind, part.batch, len(rows), tokens))

    def finish(self, counts: dict[str, Any]) -> Plan:
        plan = Plan(self._id, self._pipeline, self._run, self._space, counts, self._parts)
        manifest = {
            **{name: getattr(plan, name) for name in ("id", "pipeline", "run", "counts")},
            "space": self._space.to_document(),
            "parts": [dataclasses.asdict(part) for part in self._parts],
        }
        self._store.write_plan(self._pipeline, self._id, manifest)
        return plan


def read_plan(store: BatchStore, pipeline: str, space: EmbeddingSpace) -> Plan:
    """The current plan.

    Raises:
        BatchStoreError: There is none, or it was made for another space.
    """
    manifest = store.read_plan(pipeline)
    planned = EmbeddingSpace.from_document(manifest["space"])
    # A store from before servers were told apart keeps its space: see `Registry.settled_space`.
    if planned not in (space, space.without_endpoint()):
        raise BatchStoreError(
            f"the plan of {pipeline} was made for the space {planned.id}, but the embedder makes "
            f"{space.id} ({space.difference(planned)}): materialize {pipeline}/source_documents "
            "with the same run config first"
        )
    return Plan(
        manifest["id"],
        pipeline,
        manifest["run"],
        planned,
        manifest["counts"],
        [PlannedPart(**part) for part in manifest["parts"]],
    )


def read_chunks(store: BatchStore, plan: Plan, part: PlannedPart) -> list[Chunk]:
    return _chunks(store.read_part(plan.pipeline, plan.id, part.name))


def read_texts(store: BatchStore, plan: Plan, part: PlannedPart) -> list[Chunk]:
    """The chunks of a part without what they carry, which embedding has no use for."""
    names = [name for name in _SCHEMA.names if name != "fields"]
    return _chunks(store.read_part(plan.pipeline, plan.id, part.name, names))


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
