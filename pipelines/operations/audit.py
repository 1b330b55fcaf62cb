"""Source against batches against store against index: what does not fit, and its repair."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.work.auditing import Examination, examine
from assets.work.counts import Counts
from assets.work.opened import Opened
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.execution import run
from pipelines.framework.outcome import RunOutcome
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.plan import dry_run
from resources.core.errors import SearchIndexError
from resources.vector_store.remover import VectorRemover


@dataclass(frozen=True)
class Finding:
    """One kind of thing that does not fit.

    Attributes:
        between: Which two were compared.
        count: Chunks, documents or files.
        text: What is wrong with them.
        repaired: What a run does about it; empty where a person has to.
    """

    between: str
    count: int
    text: str
    repaired: str


@dataclass(frozen=True)
class Audit:
    """What was compared, in the space that searches go by.

    Attributes:
        space: Its id; `path` where its vectors lie.
        others: Ids of the pipeline's other spaces, which were not looked at.
    """

    space: str
    path: str
    others: Sequence[str]
    chunks: int
    stored: int
    compared: int
    indexed: int
    findings: list[Finding]


def audit(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Audit:
    """Compare everything with everything; writes nothing and asks no provider.

    Raises:
        EmbeddingsError: What would stop a run as well.
    """
    planned = dry_run(pipeline, overrides, auditing=True).counts
    with open_pipeline(pipeline, overrides) as opened:
        o = opened.main
        found = _examine(o, log=log)
        store = o.store
        bare, stored, indexed = store.without_lineage(), store.count(), 0
        deletable = o.vector_store.deletable * stored
        findings = [*_planned(planned, o.space.id, deletable), *_examined(found)]
        if bare:
            text = "have a vector without lineage: not written by this project"
            findings.append(Finding("store", bare, text, ""))
        try:
            covered = o.engine.coverage()
            indexed = covered.indexed
            if covered.why:
                count = abs(covered.stored - covered.indexed)
                findings.append(Finding("store and index", count, covered.why, "indexed anew"))
        except SearchIndexError as error:
            findings.append(Finding("store and index", stored, str(error), "indexed"))
        space, path = o.space.id, store.path
        others = tuple(
            each.space_id
            for each in o.record.entries()
            if not each.retired and each.space_id != space
        )
        return Audit(space, path, others, planned.source, stored, found.compared, indexed, findings)


def repair(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    log: Callable[[str], None] = lambda line: None,
) -> RunOutcome:
    """Mark what is damaged, and let a run do exactly the work that this makes.

    Raises:
        EmbeddingsError: What stops the run; a LeaseError while another is at work.
    """
    run_id = f"audit-{secrets.token_hex(4)}"
    with open_pipeline(pipeline, overrides, run=run_id, log=log) as opened, opened.main.work():
        o = opened.main
        found = _examine(o, VectorRemover(o.store, o.lease).distrust, log=log)
        for name in found.damaged:
            o.batches.remove_batch(o.space.id, name)
    return run(pipeline, overrides, reason="repair")


def _examine(
    opened: Opened,
    mark: Callable[[Sequence[Any]], object] = lambda ids: None,
    *,
    log: Callable[[str], None],
) -> Examination:
    space, batches = opened.space, opened.batches
    names = batches.batches(space.id)
    return examine(space, names=names, batches=batches, store=opened.store, mark=mark, log=log)


def _planned(counts: Counts, space_id: str, deletable: float) -> list[Finding]:
    deleted = "deleted" if counts.deleted <= deletable else "deleted with `allow_delete: true`"
    other = sum(counts.replaced_spaces.values())
    kinds = [
        (counts.new, "have no vector", "embedded, or stored from batches"),
        (counts.changed - other, "have a vector of an older text", "embedded"),
        (counts.cut, "have a vector of only the beginning of their text", "embedded"),
        (other, f"have a vector of another space than {space_id}", "embedded"),
        (counts.reformatted, "are stored in another format", "stored from batches"),
        (counts.rechunked, "were cut by another chunker", "written"),
        (counts.refreshed, "carry old fields", "written"),
        (counts.deleted + counts.outdated, "are stored but not in the source", deleted),
        (counts.duplicate_ids, "repeat the id of another record", ""),
        (counts.set_aside, "would be put where something of somebody else's is", ""),
    ]
    return [Finding("source and store", *kind) for kind in kinds if kind[0]]


def _examined(found: Examination) -> list[Finding]:
    findings = [
        Finding(
            "batches and store",
            fault.count,
            f"are {kind}: {fault}",
            "stored from batches",
        )
        for kind, fault in found.faults.items()
    ]
    if found.damaged:
        text = f"batch files are damaged: {', '.join(found.damaged[:3])}"
        findings.append(Finding("batches", len(found.damaged), text, "made again where needed"))
    return findings
