"""Compare stored vectors with the batches that they were written from, value by value."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resources.batch_store import BatchStore, DamagedFile, EmbeddingBatch, MissingFile
from resources.progress import Progress
from resources.vector_store.formats import VectorFormat
from resources.vector_store.store import Examined, VectorStore

NAMED = 5
"""Ids that are named for each kind of fault."""


@dataclass
class Fault:
    """Documents with one thing wrong."""

    count: int = 0
    examples: list[Any] = field(default_factory=list)

    def add(self, chunk_id: Any) -> None:
        self.count += 1
        if len(self.examples) < NAMED:
            self.examples.append(chunk_id)


@dataclass
class Examination:
    """What was found.

    Attributes:
        compared: Documents whose vector was compared with its batch.
        faults: By kind: vector missing, of another type or width than the lineage says, or not
            the one in the batch.
        damaged: Batch files whose checksums do not fit.
    """

    compared: int = 0
    faults: dict[str, Fault] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """The faults in a few words, with the first ids; empty where there are none."""
        listed = [
            f"{fault.count:,} {kind} ({', '.join(map(str, fault.examples))}"
            f"{', …' if fault.count > len(fault.examples) else ''})"
            for kind, fault in self.faults.items()
        ]
        if self.damaged:
            listed.append(f"{len(self.damaged):,} damaged batch files ({self.damaged[0]}, …)")
        return "; ".join(listed)


def examine(
    space: str,
    *,
    names: Sequence[str],
    batches: BatchStore,
    store: VectorStore,
    mark: Callable[[Sequence[Any]], object] = lambda ids: None,
    log: Callable[[str], None] = lambda line: None,
) -> Examination:
    """Compare every vector that came from these batches with what it should be.

    Args:
        space: Whose batches.
        names: Of the batches to read.
        batches: Where they lie.
        store: What is compared with them.
        mark: Takes the ids of documents with a fault.
        log: Takes lines of progress.
    """
    found = Examination()
    progress = Progress(log, "batches compared", len(names))
    for name in names:
        try:
            batch = batches.read_batch(space, name)
        except MissingFile:
            continue  # removed since it was listed
        except DamagedFile:
            found.damaged.append(name)
            continue
        faulty = []
        for document, fault in _faults(batch, store):
            found.compared += 1
            if fault:
                found.faults.setdefault(fault, Fault()).add(document.id)
                faulty.append(document.id)
        mark(faulty)
        progress.advance(1)
    progress.finish()
    return found


def _faults(batch: EmbeddingBatch, store: VectorStore) -> Iterator[tuple[Examined, str]]:
    rows = batch.rows_by_text()
    main, _, _ = store.format.fields(batch.vectors)
    for document in store.examined(batch.space.id, list(rows)):
        # A text may lie in two batches; another format is the planner's business.
        same_batch = document.batch == batch.lineage[rows[document.text_hash]].batch
        if same_batch and document.stored_as == str(store.format):
            yield document, _fault(document, main[rows[document.text_hash]], store.format)


def _fault(document: Examined, wanted: np.ndarray, stored_as: VectorFormat) -> str:
    if document.dtype is None:
        return "without a vector"
    if document.dtype != stored_as.dtype:
        return f"not stored as {stored_as.dtype}"
    if document.vector is None or document.vector.shape != wanted.shape:
        return "of another width"
    if not np.array_equal(document.vector, wanted):
        return "not as embedded"
    return ""
