"""Compare stored vectors with what they should be: all by type and width, most value by value."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resources.batch_store.files import DamagedFile, MissingFile
from resources.batch_store.store import BatchStore, EmbeddingBatch
from resources.embedders.space import EmbeddingSpace
from resources.progress import Progress
from resources.vector_store.store import Examined, VectorStore
from resources.windows import windows

NAMED = 5
"""Ids that are named for each kind of fault."""
WINDOW = 1_000
OTHER_VALUES = "not as embedded"


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

    def note(self, fault: str, chunk_id: Any) -> None:
        self.faults.setdefault(fault, Fault()).add(chunk_id)

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
    space: EmbeddingSpace,
    *,
    names: Sequence[str],
    batches: BatchStore,
    store: VectorStore,
    all_shapes: bool = True,
    mark: Callable[[Sequence[Any]], object] = lambda ids: None,
    log: Callable[[str], None] = lambda line: None,
) -> Examination:
    """Look at every vector's type and width, and compare vectors with those in batches.

    Args:
        space: Of the vectors.
        names: Of the batches to read.
        batches: Where they lie.
        store: What is compared with them; int8 with its scale.
        all_shapes: Also look at vectors of other batches, or of none: a scan of the collection.
        mark: Takes the ids of documents with a fault.
        log: Takes lines of progress.
    """
    found = Examination()
    for window in windows(store.misshapen(space), WINDOW) if all_shapes else ():
        for document in window:
            found.note(_shape_fault(document, store), document.id)
        mark([document.id for document in window])
    progress = Progress(log, "batches compared", len(names))
    for name in names:
        try:
            batch = batches.read_batch(space.id, name)
        except MissingFile:
            continue  # removed since it was listed
        except DamagedFile:
            found.damaged.append(name)
            continue
        wrong = []
        for document, fault in _compared(batch, store):
            found.compared += 1
            # With all shapes looked at, those faults are known already.
            if fault and not (all_shapes and fault != OTHER_VALUES):
                found.note(fault, document.id)
                wrong.append(document.id)
        mark(wrong)
        progress.advance(1)
    progress.finish()
    return found


def _shape_fault(document: Examined, store: VectorStore) -> str:
    if document.dtype is None:
        return "without a vector"
    return f"not stored as {store.dtype}" if document.dtype != store.dtype else "of another width"


def _compared(batch: EmbeddingBatch, store: VectorStore) -> Iterator[tuple[Examined, str]]:
    """Documents with a vector of the batch, and what is wrong with it."""
    rows = batch.rows_by_text()
    main, fine, _ = store.format.fields(batch.vectors)
    for document in store.examined(batch.space.id, list(rows)):
        row = rows[document.text_hash]
        if document.batch != batch.lineage[row].batch:
            continue  # a text may lie in two batches
        vector, finer = document.vector, document.fine
        if document.dtype != store.dtype or vector is None or vector.shape != main[row].shape:
            yield document, _shape_fault(document, store)
            continue
        same = np.array_equal(vector, main[row])
        if fine is not None:
            same = same and finer is not None and np.array_equal(finer, fine[row])
        yield document, "" if same else OTHER_VALUES
