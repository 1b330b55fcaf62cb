"""Write down what a provider has answered to a batch: its file first, then what the registry knows.

The file holds all that is noted, so that who finds it after a kill can note it.
"""

import dataclasses
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.work.embedded import Embedded
from assets.work.plan import Plan
from assets.work.planning import batch_id
from assets.work.versions import code_of_batches
from resources.batch_store.store import BatchStore, EmbeddingBatch
from resources.core.chunks import Chunk
from resources.core.keys import shown
from resources.core.lineage import Lineage
from resources.core.moment import now
from resources.embedders.base import Embedder, Embeddings
from resources.registry import ledger
from resources.registry.registry import Registry
from resources.sources.records import EXCERPT_LENGTH, RejectedRecord

if TYPE_CHECKING:
    from assets.work.embedding import Work


@dataclass(frozen=True)
class Written:
    """A batch whose file is there, by the plan's name for it, with its chunks and the reply."""

    name: str
    batch: EmbeddingBatch
    chunks: list[Chunk]
    reply: Embeddings


def write(
    plan: Plan,
    name: str,
    chunks: list[Chunk],
    reply: Embeddings,
    seconds: float,
    *,
    found: bool,
    batches: BatchStore,
    embedder: Embedder,
    run: str,
    outcome: Embedded,
) -> Written:
    """Write the file of a batch, with what it took.

    Args:
        plan: That it is of.
        name: By which the plan knows it.
        chunks: That were sent.
        reply: To them.
        seconds: Since the first was sent.
        found: There is a file of it, whose rows are kept.
        batches: Where it is written.
        embedder: That has answered.
        run: That has asked.
        outcome: Counts it.
    """
    batch = _batch(plan, name, chunks, reply, embedder, run)
    batch.details["spent"] = _spent(plan, batch, reply, embedder, run) | {"seconds": seconds}
    outcome.count(reply)
    outcome.embedded += len(batch.lineage)
    outcome.batches += 1
    if found and not reply.unfinished:
        batch = _joined(batches.read_batch(plan.space.id, name), batch)
    if batch.lineage or not reply.unfinished:
        # Before anything else, and before the next is embedded: this is what a kill would cost.
        outcome.bytes += batches.write_batch(batch)
    embedder.written(name)
    return Written(name, batch, chunks, reply)


def note(
    work: "Work", written: Written, *, embedder: Embedder, registry: Registry, cut_is_fine: bool
) -> None:
    """Note in the registry what came of a batch: what was refused, what it took."""
    batch, chunks = written.batch, written.chunks
    refused = [
        RejectedRecord(
            chunks[position].id,
            where=f"{embedder.space.provider} model {embedder.model}",
            reason=refusal.reason,
            excerpt=chunks[position].text[:EXCERPT_LENGTH],
            text_hash=chunks[position].text_hash,
            lasting=refusal.lasting,
        )
        for position, refusal in written.reply.refused.items()
    ]
    work.refuse(refused)
    work.heal(list(batch.rows_by_text(cut=cut_is_fine)))
    registry.ledger.record(ledger.entry(batch.details))


def _joined(there: EmbeddingBatch, more: EmbeddingBatch) -> EmbeddingBatch:
    """A batch with the rows of two, under the name that both have.

    A text that was cut gives way to itself as a whole. Refused as a whole it stays: who lets texts
    be cut need not ask for it again.
    """
    new = more.rows_by_text()
    kept = [row for row, made in enumerate(there.lineage) if made.text_hash not in new]
    return dataclasses.replace(
        more,
        chunk_ids=[there.chunk_ids[row] for row in kept] + more.chunk_ids,
        vectors=np.concatenate([there.vectors[kept], more.vectors]),
        tokens=np.concatenate([there.tokens[kept], more.tokens]),
        lineage=[there.lineage[row] for row in kept] + more.lineage,
    )


def _spent(
    plan: Plan, batch: EmbeddingBatch, reply: Embeddings, embedder: Embedder, run: str
) -> dict[str, Any]:
    """The ledger's entry for one batch."""
    usage = reply.usage
    key = f"{run}/{batch.id}"
    if not batch.lineage:  # nothing came of it: it has no file, and no name of its own
        key += f"/{secrets.token_hex(4)}"
    return {
        "_id": key,
        "pipeline": plan.pipeline,
        "provider": plan.space.provider,
        "model": embedder.model,
        "space": plan.space.id,
        "run": run,
        "batch": batch.id,
        "texts": len(batch.lineage),
        "tokens": usage.tokens,
        "cost_usd": embedder.facts.cost_usd(usage.tokens or 0),
        "requests": usage.requests,
        "retries": usage.retries,
        "throttled_seconds": usage.throttled_seconds,
        "request_ids": list(usage.request_ids),
        "at": now().isoformat(),
    }


def _batch(
    plan: Plan, name: str, chunks: list[Chunk], reply: Embeddings, embedder: Embedder, run: str
) -> EmbeddingBatch:
    left_out = reply.unfinished.union(reply.refused)
    kept = [row for row in range(len(chunks)) if row not in left_out]
    if reply.unfinished:
        # A part of the batch only: under the planned name it would pass for the whole.
        name = batch_id(plan.space.id, [chunks[row].text_hash for row in kept])
    at = now()
    tokens = np.full(len(chunks), -1) if reply.tokens is None else reply.tokens
    return EmbeddingBatch(
        id=name,
        space=plan.space,
        chunk_ids=[shown(chunks[row].id) for row in kept],
        vectors=reply.vectors[kept],
        tokens=tokens[kept],
        lineage=[
            Lineage(
                plan.space.id,
                embedder.model,
                chunks[row].text_hash,
                name,
                run,
                at,
                cut=row in reply.cut,
            )
            for row in kept
        ],
        details={
            "pipeline": plan.pipeline,
            "plan": plan.id,
            "run": run,
            "tokens": reply.usage.tokens,
            "requests": reply.usage.requests,
            "retries": reply.usage.retries,
            "throttled_seconds": reply.usage.throttled_seconds,
            "truncated": reply.usage.truncated,
            "versions": embedder.versions(),
            "code": code_of_batches(),
            "settings": dict(embedder.facts.settings),
        },
    )


def preview_rows(chunks: list[Chunk], reply: Embeddings) -> list[tuple[Chunk, np.ndarray, int]]:
    tokens = [-1] * len(chunks) if reply.tokens is None else reply.tokens.tolist()
    left_out = reply.unfinished.union(reply.refused)
    rows = [row for row in range(len(chunks)) if row not in left_out][:4]
    return [(chunks[row], reply.vectors[row], tokens[row]) for row in rows]
