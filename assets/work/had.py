"""Vectors that are there already, as a batch: stored somewhere, or the beginning of wider ones."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from assets.work.opened import Opened
from assets.work.plan import Plan, PlannedPart
from resources.batch_store.store import EmbeddingBatch
from resources.core.chunks import Chunk
from resources.core.errors import BatchStoreError
from resources.core.keys import shown
from resources.core.lineage import Lineage
from resources.core.space import EmbeddingSpace
from resources.models import cutting


def wider(
    o: Opened, space: EmbeddingSpace
) -> Iterator[tuple[str, Iterator[tuple[str, list[str]]], Callable[[str], bool]]]:
    """Spaces of the same model whose vectors have only to be cut, as `Planner.resolve` takes them.

    A generator: nothing is looked for where nothing is left to embed.
    """
    model, cut_is_fine = o.embedder.facts().model, o.embedder.truncates
    for wide in cutting.wider(space, model, o.batches.spaces()):
        batches = o.batches.texts_by_batch(wide.id, cut=cut_is_fine)
        yield wide.id, batches, partial(o.batches.has_batch, wide.id)


def cut(o: Opened, plan: Plan, part: PlannedPart, chunks: Sequence[Chunk]) -> EmbeddingBatch | None:
    """The beginnings of wider vectors, with the lineage of those; no provider is asked.

    Returns:
        None where they are damaged or gone since: the part is embedded instead.
    """
    space_id, _, name = part.origin.rpartition("/")
    try:
        wide = o.batches.read_batch(space_id, name)
    except BatchStoreError as error:
        o.warn(f"{error}: {len(chunks):,} texts are embedded, as their vectors cannot be cut")
        return None
    row_of = wide.rows_by_text(cut=o.embedder.truncates)
    if any(chunk.text_hash not in row_of for chunk in chunks):
        return None
    rows = [row_of[chunk.text_hash] for chunk in chunks]
    vectors = cutting.cut(wide.vectors[rows], wide.space, plan.space.dimensions)
    if not vectors.any(axis=1).all():
        return None  # one says nothing in so few dimensions: the provider shall judge
    lineage = [
        dataclasses.replace(wide.lineage[row], space_id=plan.space.id, batch=part.batch)
        for row in rows
    ]
    origin = {"cut_from": {"space": space_id, "batch": name}}
    return _batch(plan, part, chunks, vectors, wide.tokens[rows], lineage, origin)


def copied(
    o: Opened, plan: Plan, part: PlannedPart, chunks: Sequence[Chunk]
) -> EmbeddingBatch | None:
    """Vectors that are stored somewhere, before anything there changes.

    Returns:
        As `cut`.
    """
    stored = o.neighbours.by_text(plan.space.id, [chunk.text_hash for chunk in chunks])
    found = {text: row for text, row in stored.items() if row[0].shape == (plan.space.width,)}
    if any(chunk.text_hash not in found for chunk in chunks):
        return None
    rows = [found[chunk.text_hash] for chunk in chunks]
    vectors, tokens = np.stack([vector for vector, _ in rows]), np.full(len(rows), -1)
    return _batch(plan, part, chunks, vectors, tokens, [made for _, made in rows], {"copied": True})


def _batch(
    plan: Plan,
    part: PlannedPart,
    chunks: Sequence[Chunk],
    vectors: np.ndarray,
    tokens: np.ndarray,
    lineage: list[Lineage],
    details: dict[str, Any],
) -> EmbeddingBatch:
    return EmbeddingBatch(
        id=part.batch,
        space=plan.space,
        chunk_ids=[shown(chunk.id) for chunk in chunks],
        vectors=vectors,
        tokens=tokens,
        lineage=lineage,
        # No run's: it has embedded nothing.
        details={"pipeline": plan.pipeline, "plan": plan.id, **details},
    )
