"""The asset `embedding_batches`: embed what the plan asks for, and write every batch down."""

import dataclasses
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dagster as dg
import numpy as np

from assets.budget import Estimate, check_budget, estimate, exceeded
from assets.exclusive import exclusive
from assets.failures import explained
from assets.heap import settled_heap
from assets.plan import Plan, PlannedPart, read_chunks, read_plan
from assets.planning import batch_id
from assets.source_documents import cell
from resources import ledger
from resources.batch_store.resource import BatchStoreResource
from resources.batch_store.store import BatchStore, EmbeddingBatch
from resources.chunks import Chunk
from resources.embedders import catalogue
from resources.embedders.base import Embedder, Embeddings, without_zeros
from resources.embedders.packing import estimate_tokens
from resources.embedders.resource import EmbedderResource
from resources.embedders.space import EmbeddingSpace
from resources.errors import ConfigurationError
from resources.keys import shown
from resources.lease import Lease
from resources.moment import now
from resources.mongodb.resource import MongoDBResource
from resources.progress import Progress, duration
from resources.registry import Registry
from resources.sources.records import EXCERPT_LENGTH, RejectedRecord
from resources.sources.resource import SourceResource
from resources.vector_store.lineage import Lineage
from resources.vector_store.neighbours import Neighbours, neighbours
from resources.vector_store.resource import VectorStoreResource

KEPT_UNDER_WAY = 256
"""Batches whose chunks are held until their reply; those of batch jobs are read a second time."""


@dataclass
class Outcome:
    """What embedding came to."""

    batches: int = 0
    embedded: int = 0
    copied: int = 0
    already_there: int = 0
    refused: int = 0
    bytes: int = 0
    estimate: Estimate | None = None
    requests: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    tokens: int | None = None
    cost_usd: float | None = None
    truncated: int = 0
    seconds: float = 0.0
    preview: list[tuple[Chunk, np.ndarray, int]] = field(default_factory=list)

    def count(self, reply: Embeddings) -> None:
        usage = reply.usage
        self.requests += usage.requests
        self.truncated += usage.truncated
        self.retries += usage.retries
        self.throttled_seconds += usage.throttled_seconds
        if usage.tokens is not None:
            self.tokens = (self.tokens or 0) + usage.tokens


def embed_plan(
    plan: Plan,
    *,
    batches: BatchStore,
    embedder: Embedder,
    stores: Neighbours,
    registry: Registry,
    limits: EmbedderResource,
    lease: Lease,
    run: str,
    log: Callable[[str], None],
) -> Outcome:
    """Make every batch of the plan that is not there yet.

    Killed at any point, the next call repeats only what was in flight: one batch, or as many as a
    remote provider has requests for. Written down at once, because to do it beside the next batch
    saves nothing worth another batch at risk: 7 ms for 1,000 vectors.

    Raises:
        ConfigurationError: It would cost more than `limits` allow, and nothing is spent; or it
            came to cost more than estimated, and what was embedded until then is kept.
        ProviderError: The provider failed for good; what was finished before is kept.
        LeaseError: Another run took the pipeline over; what was finished before is kept.
    """
    outcome = Outcome()
    todo: list[_Todo] = []
    there: list[str] = []
    refused_texts = partial(registry.quarantine.refused_texts, embedder.refusal_scope)
    for part in plan.of_kind("copy", "embed"):
        work = _left(plan, part, batches, refused_texts)
        outcome.already_there += part.chunks - work.texts
        if work.there or not work.texts:
            there.append(part.batch)
        if work.texts and (
            part.kind == "embed" or work.there or not _copy(plan, part, batches, stores, outcome)
        ):
            todo.append(work)
    wanted = estimate(
        plan.space.provider,
        embedder.model,
        texts=sum(work.texts for work in todo),
        tokens=sum(work.tokens for work in todo),
        price_factor=embedder.price_factor,
    )
    outcome.estimate = wanted
    made = {part.batch for part in plan.of_kind("copy", "embed")}
    there += [part.batch for part in plan.of_kind("reuse") if part.batch not in made]
    _note_found(plan, there, batches, registry)
    check_budget(
        wanted,
        model=embedder.model,
        max_tokens=limits.max_tokens,
        max_cost_usd=limits.max_cost_usd,
    )
    if todo:
        log(f"to embed with {embedder.model}: {wanted}")
    progress = Progress(log, "chunks embedded", wanted.texts)
    under_way: dict[str, list[Chunk]] = {}
    parts = {work.part.batch: work for work in todo}

    stopped = ""

    def texts() -> Iterator[tuple[str, list[str]]]:
        nonlocal stopped
        for work in todo:
            # The estimate was made from characters; what is billed counts.
            stopped = exceeded(
                outcome.tokens,
                outcome.cost_usd,
                max_tokens=limits.max_tokens,
                max_cost_usd=limits.max_cost_usd,
            )
            if stopped:
                return
            lease.check()
            name = work.part.batch
            under_way[name] = work.chunks(plan, batches)
            yield name, [chunk.text for chunk in under_way[name]]
            if len(under_way) > KEPT_UNDER_WAY:
                del under_way[next(iter(under_way))]

    for name, given in embedder.embed_batches(texts()):
        reply = without_zeros(given)
        chunks = under_way.pop(name, None) or parts[name].chunks(plan, batches)
        batch = _batch(plan, name, chunks, reply, embedder, run)
        outcome.embedded += len(batch.lineage)
        spent = _spent(plan, batch, reply, embedder, run) | {"seconds": progress.seconds}
        batch.details["spent"] = spent
        if parts[name].there and not reply.unfinished:
            batch = _joined(batches.read_batch(plan.space.id, name), batch)
        if batch.lineage or not reply.unfinished:
            # Before anything else, and before the next is embedded: this is what a kill would cost.
            outcome.bytes += batches.write_batch(batch)
        embedder.written(name)
        refused = [
            RejectedRecord(
                chunks[position].id,
                where=f"{embedder.space.provider} model {embedder.model}",
                reason=refusal.reason,
                excerpt=chunks[position].text[:EXCERPT_LENGTH],
                text_hash=chunks[position].text_hash,
                lasting=refusal.lasting,
            )
            for position, refusal in reply.refused.items()
        ]
        scope = embedder.refusal_scope
        registry.quarantine.add(plan.pipeline, run, refused, space=scope, stage="provider")
        registry.quarantine.heal(plan.pipeline, scope, [row.text_hash for row in batch.lineage])
        registry.ledger.record(ledger.entry(batch.details))
        outcome.count(reply)
        if spent["cost_usd"] is not None:
            outcome.cost_usd = (outcome.cost_usd or 0.0) + spent["cost_usd"]
        outcome.refused += len(refused)
        outcome.batches += 1
        if not outcome.preview:
            outcome.preview = _preview_rows(chunks, reply)
        progress.advance(len(chunks) - len(reply.unfinished))
    outcome.seconds = progress.seconds
    progress.finish()
    if stopped:
        raise ConfigurationError(stopped)
    return outcome


@dataclass(frozen=True)
class _Todo:
    """What is left of a part: all of it, or what a batch file that is there does not hold.

    Attributes:
        there: Hashes of the texts that are there, or in quarantine by now.
    """

    part: PlannedPart
    texts: int
    tokens: int
    there: frozenset[str] = frozenset()

    def chunks(self, plan: Plan, batches: BatchStore) -> list[Chunk]:
        chunks = read_chunks(batches, plan, self.part)
        return [chunk for chunk in chunks if chunk.text_hash not in self.there]


def _left(
    plan: Plan,
    part: PlannedPart,
    batches: BatchStore,
    refused_texts: Callable[[Sequence[str]], set[str]],
) -> _Todo:
    there = batches.whole_texts(plan.space.id, part.batch)
    if there is None:
        return _Todo(part, part.chunks, part.tokens)
    if len(there) >= part.chunks:
        return _Todo(part, 0, 0)
    # Texts that were refused when the batch was made: not those that may be asked for again.
    chunks = {chunk.text_hash: chunk for chunk in read_chunks(batches, plan, part)}
    absent = [text for text in chunks if text not in set(there)]
    refused = refused_texts(absent)
    again = [text for text in absent if text not in refused]
    tokens = sum(estimate_tokens(chunks[text].text) for text in again)
    return _Todo(part, len(again), tokens, frozenset(chunks).difference(again))


def _joined(there: EmbeddingBatch, more: EmbeddingBatch) -> EmbeddingBatch:
    """A batch with the rows of two, under the name that both have."""
    return dataclasses.replace(
        more,
        chunk_ids=there.chunk_ids + more.chunk_ids,
        vectors=np.concatenate([there.vectors, more.vectors]),
        tokens=np.concatenate([there.tokens, more.tokens]),
        lineage=there.lineage + more.lineage,
    )


def _spent(
    plan: Plan, batch: EmbeddingBatch, reply: Embeddings, embedder: Embedder, run: str
) -> dict[str, Any]:
    """The ledger's entry for one batch."""
    usage = reply.usage
    cost = catalogue.cost_usd(plan.space.provider, embedder.model, usage.tokens or 0)
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
        "cost_usd": None if cost is None else cost * embedder.price_factor,
        "requests": usage.requests,
        "retries": usage.retries,
        "throttled_seconds": usage.throttled_seconds,
        "request_ids": list(usage.request_ids),
        "at": now().isoformat(),
    }


def _note_found(plan: Plan, names: Iterable[str], batches: BatchStore, registry: Registry) -> None:
    """Note what batches took that a run wrote and, killed right then, did not come to note."""
    for name in registry.ledger.unrecorded(dict.fromkeys(names)):
        entry = ledger.entry_of(batches.read_batch(plan.space.id, name))
        if entry is not None:
            registry.ledger.record(entry)


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
            Lineage(plan.space.id, embedder.model, chunks[row].text_hash, name, run, at)
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
            "settings": embedder.settings(),
        },
    )


def _copy(
    plan: Plan, part: PlannedPart, batches: BatchStore, stores: Neighbours, outcome: Outcome
) -> bool:
    """Write down vectors that are stored somewhere, before anything there changes."""
    chunks = read_chunks(batches, plan, part)
    stored = stores.by_text(plan.space.id, [chunk.text_hash for chunk in chunks])
    found = {text: row for text, row in stored.items() if row[0].shape == (plan.space.width,)}
    if any(chunk.text_hash not in found for chunk in chunks):
        return False  # one is damaged, or gone since: the whole part is embedded instead
    rows = [found[chunk.text_hash] for chunk in chunks]
    outcome.bytes += batches.write_batch(
        EmbeddingBatch(
            id=part.batch,
            space=plan.space,
            chunk_ids=[shown(chunk.id) for chunk in chunks],
            vectors=np.stack([vector for vector, _ in rows]),
            tokens=np.full(len(rows), -1),
            lineage=[lineage for _, lineage in rows],
            details={"pipeline": plan.pipeline, "plan": plan.id, "copied": True},
        )
    )
    outcome.copied += len(rows)
    outcome.batches += 1
    return True


def build_embedding_batches(pipeline: str, kinds: set[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version="1",
        deps=[dg.AssetKey([pipeline, "source_documents"])],
    )
    def embedding_batches(
        context: dg.AssetExecutionContext,
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        batch_store: BatchStoreResource,
    ) -> dg.MaterializeResult:
        """Vectors of the texts that have none yet, as Parquet files: the checkpoint of the run."""
        with explained(), settled_heap():
            batches = batch_store.open()
            with mongodb.connect() as client, exclusive(context, client, mongodb) as lease:
                plan = read_plan(batches, pipeline, embedder.space())
                written = partial(batches.has_batch, plan.space.id)
                registry = Registry(client, mongodb.registry)
                jobs = registry.jobs(pipeline, context.run_id, written)
                journal = registry.ledger.journal(
                    pipeline=pipeline,
                    run=context.run_id,
                    provider=plan.space.provider,
                    model=embedder.provider.model,
                )
                with embedder.open(jobs, context.log.info, journal) as provider:
                    outcome = embed_plan(
                        plan,
                        batches=batches,
                        embedder=provider,
                        stores=neighbours(
                            vector_store.open(client, source, plan.space, pipeline),
                            client,
                            registry,
                            plan.space,
                        ),
                        registry=registry,
                        limits=embedder,
                        lease=lease,
                        run=context.run_id,
                        log=context.log.info,
                    )
        if not plan.of_kind("copy", "embed"):
            context.log.info("nothing to embed")
        elif outcome.embedded:
            context.log.info(f"embedded {outcome.embedded:,} texts in {duration(outcome.seconds)}")
        if outcome.truncated:
            context.log.warning(
                f"{outcome.truncated:,} texts are longer than the model reads: their vectors know "
                "only the beginning"
            )
        space = plan.space
        metadata = {
            "dagster/row_count": outcome.embedded,
            "dagster/uri": f"{batches.url}/batches/{space.id}",
            "provider": space.provider,
            "model": provider.model,
            "space": space.id,
            "dimensions": space.dimensions,
            "batches written": outcome.batches,
            "embedded": outcome.embedded,
            "vectors copied": outcome.copied,
            "already embedded": outcome.already_there,
            "refused by the provider": outcome.refused,
            "longer than the model reads": outcome.truncated,
            "estimated before": str(outcome.estimate),
            **({"tokens": outcome.tokens} if outcome.tokens is not None else {}),
            **({"cost (USD)": outcome.cost_usd} if outcome.cost_usd is not None else {}),
            "requests": outcome.requests,
            "retries": outcome.retries,
            "seconds throttled": round(outcome.throttled_seconds, 3),
            "bytes written": outcome.bytes,
            "seconds": round(outcome.seconds, 3),
            "texts per second": round(outcome.embedded / max(outcome.seconds, 1e-9), 1),
            "space in full": dg.MetadataValue.json(space.to_document()),
            "dagster/column_schema": _column_schema(space),
        }
        if outcome.preview:
            metadata["preview"] = dg.MetadataValue.md(_preview(outcome))
        return dg.MaterializeResult(metadata=metadata)

    return embedding_batches


def _column_schema(space: EmbeddingSpace) -> dg.TableSchema:
    columns = [
        ("chunk_id", "string", "first chunk with this text, as JSON"),
        ("text_hash", "string", "SHA-256 of the text"),
        ("vector", f"fixed_size_list<{_ARROW[space.element]}>[{space.width}]", "the embedding"),
        ("tokens", "int32", "as the provider counts, before truncation"),
        ("model", "string", "which model embedded it"),
        ("batch", "string", "the batch it was first written in"),
        ("run", "string", "the Dagster run that embedded it"),
        ("at", "timestamp[ms]", "when"),
    ]
    return dg.TableSchema(
        [dg.TableColumn(name, kind, description=text) for name, kind, text in columns]
    )


_ARROW = {"float32": "float", "int8": "int8", "packed_bit": "uint8"}


def _preview_rows(chunks: list[Chunk], reply: Embeddings) -> list[tuple[Chunk, np.ndarray, int]]:
    tokens = [-1] * len(chunks) if reply.tokens is None else reply.tokens.tolist()
    left_out = reply.unfinished.union(reply.refused)
    rows = [row for row in range(len(chunks)) if row not in left_out][:4]
    return [(chunks[row], reply.vectors[row], tokens[row]) for row in rows]


def _preview(outcome: Outcome) -> str:
    lines = ["| id | text | tokens | vector |", "| --- | --- | ---: | --- |"]
    for chunk, vector, tokens in outcome.preview:
        shown = "+.2f" if vector.dtype == np.float32 else ""
        start = ", ".join(format(value, shown) for value in vector[:2])
        count = "" if tokens < 0 else tokens
        lines.append(f"| {cell(chunk.id)} | {cell(chunk.text, 60)} | {count} | {start}, … |")
    return "\n".join(lines)
