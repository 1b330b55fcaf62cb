"""Compare stored vectors with what they should be: all by type and width, most value by value."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resources.batch_store.files import DamagedFile, MissingFile
from resources.batch_store.store import BatchStore, EmbeddingBatch
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.core.tally import Tally
from resources.core.windows import windows
from resources.vector_store.examining import Examined, examined, misshapen
from resources.vector_store.store import VectorStore

WINDOW = 1_000
OTHER_VALUES = "not as embedded"


@dataclass
class Examination(Tally):
    """What was found: vectors that are missing, of another type or width than the lineage says,
    or not those in their batch.

    Attributes:
        compared: Documents whose vector was compared with its batch.
        damaged: Batch files whose checksums do not fit.
    """

    compared: int = 0
    damaged: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """The faults in a few words, with the first ids; empty where there are none."""
        listed = [f"{fault.count:,} {kind} ({fault})" for kind, fault in self.faults.items()]
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
        names: Of the batches to read; where a scale is missing nothing was stored of any.
        batches: Where they lie.
        store: What is compared with them.
        all_shapes: Also look at vectors of other batches, or of none: a scan of the collection.
        mark: Takes the ids of documents with a fault.
        log: Takes lines of progress.
    """
    found = Examination()
    for window in windows(misshapen(store, space), WINDOW) if all_shapes else ():
        for document in window:
            found.add(_shape_fault(document, store), document.id)
        mark([document.id for document in window])
    names = () if store.format.unscaled else names
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
            # With all shapes looked at, their faults are known already.
            if fault == OTHER_VALUES or (fault and not all_shapes):
                found.add(fault, document.id)
                wrong.append(document.id)
        mark(wrong)
        progress.advance(1)
    progress.finish()
    return found


def _shape_fault(document: Examined, store: VectorStore) -> str:
    if document.dtype is None:
        return "without a vector"
    if not document.readable:
        return f"not as {store.layout} reads it"
    return f"not stored as {store.dtype}" if document.dtype != store.dtype else "of another width"


def _compared(batch: EmbeddingBatch, store: VectorStore) -> Iterator[tuple[Examined, str]]:
    """Documents with a vector of the batch, and what is wrong with it."""
    rows = batch.rows_by_text()
    main, fine, _ = store.format.fields(batch.vectors)
    for document in examined(store, batch.space.id, list(rows)):
        row = rows[document.text_hash]
        made = batch.lineage[row]
        # A text may lie in two batches, and take the place of its beginning in one.
        if (document.batch, document.cut) != (made.batch, made.cut):
            continue
        vector, finer = document.vector, document.fine
        if document.dtype != store.dtype or vector is None or vector.shape != main[row].shape:
            yield document, _shape_fault(document, store)
            continue
        same = np.array_equal(vector, main[row])
        if fine is not None:
            same = same and finer is not None and np.array_equal(finer, fine[row])
        yield document, "" if same else OTHER_VALUES
