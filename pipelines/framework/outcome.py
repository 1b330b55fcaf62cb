"""What a run came to, for who started it: as objects, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assets.report.candidate import following
from assets.work.candidate import Candidate
from assets.work.comparing import Planned
from assets.work.embedded import Embedded
from assets.work.proving import Indexed
from assets.work.quality import Measured
from assets.work.storing import Stored


@dataclass(frozen=True)
class RunOutcome:
    """What a run did, asset by asset.

    Attributes:
        pipeline: Its name.
        run_id: Of the Dagster run.
        measured: How good searches are, where that is measured.
        candidate: What was built beside the space that serves, where another one is wanted; where
            that one is left as it is, the same as the assets before.
        failed_checks: Name and description of the checks that did not pass.
        promoted: Whether the candidate serves from now on, by `promote: auto`.
        notes: What a person should know besides.
    """

    pipeline: str
    run_id: str
    planned: Planned
    embedded: Embedded
    stored: Stored
    indexed: Indexed
    measured: Measured | None
    candidate: Candidate | None
    failed_checks: list[tuple[str, str]]
    promoted: bool = False
    notes: Sequence[str] = ()

    @property
    def left_alone(self) -> bool:
        """Whether the space that serves was left as it is, and the other one alone was built."""
        return self.candidate is not None and self.planned is self.candidate.planned

    def to_json(self, called: str = "") -> dict[str, Any]:
        """For programs, by asset: of the source the numbers of `is` add up to its `chunks`.

        Args:
            called: How the pipeline was named for the run; default: by its own name.
        """
        candidate, name = self.candidate, called or self.pipeline
        return {
            "pipeline": name,
            "run": self.run_id,
            "space": self.embedded.space.id,
            **_assets(self.planned, self.embedded, self.stored, self.indexed),
            **({"search_quality": quality(self.measured)} if self.measured else {}),
            **({"candidate": beside(name, candidate, self.promoted)} if candidate else {}),
            "serving_left_alone": self.left_alone,
            "failed_checks": [{"check": name, "why": why} for name, why in self.failed_checks],
            "notes": list(self.notes),
        }


def beside(pipeline: str, built: Candidate, promoted: bool) -> dict[str, Any]:
    """What was built beside the space that serves, for programs."""
    entry = built.entry
    return {
        "space": entry.space_id,
        "serving": built.serving,
        "resumed": built.resumed,
        "complete": not entry.missing,
        "chunks": entry.chunks,
        "vectors": entry.vectors,
        "missing": entry.missing,
        "quarantined": entry.quarantined,
        "bytes": entry.bytes,
        **_assets(built.planned, built.embedded, built.stored, built.indexed),
        "promoted": promoted,
        "next": "" if promoted else following(pipeline, built),
    }


def _assets(
    planned: Planned, embedded: Embedded, stored: Stored, indexed: Indexed
) -> dict[str, Any]:
    found, counts = planned.found, planned.found.counts
    written, report, probes = stored.written, indexed.report, indexed.probes
    return {
        "source_documents": {
            "documents": found.documents,
            "chunks": counts.source,
            "is": counts.of_source(),
            "rejected": found.rejected,
            "deleted": counts.deleted,
            "outdated": counts.outdated,
            "replaced_spaces": dict(counts.replaced_spaces),
            "left_quarantine": planned.healed,
        },
        "embedding_batches": {
            "model": embedded.model,
            "embedded": embedded.embedded,
            "reused": counts.reused,
            "narrowed": embedded.narrowed,
            "refused": embedded.refused,
            "refusals": embedded.refusals,
            "truncated": embedded.truncated,
            "tokens": embedded.tokens,
            "cost_usd": embedded.cost_usd,
            "requests": embedded.requests,
            "retries": embedded.retries,
            "seconds": embedded.seconds,
        },
        "stored_vectors": {
            "written": written.vectors,
            "refreshed": written.refreshed,
            "deleted": written.deleted,
            "withdrawn": written.withdrawn,
            "set_aside": stored.aside,
            "stored": stored.total,
        },
        "search_index": {
            "name": indexed.name,
            "engine": report.engine,
            "indexed": report.indexed,
            "stored": report.stored,
            "changed": report.changed,
            "probes": len(probes),
            "probes_found": sum(probe.right for probe in probes),
        },
        "quarantine": {
            "entries": sum(stored.quarantined.values()),
            "reasons": dict(stored.quarantined),
        },
    }


def quality(measured: Measured) -> dict[str, Any]:
    """How good searches are, for programs."""
    found, baseline = measured.evaluation, measured.baseline
    return {
        "evaluation": found.id,
        "reused": measured.reused,
        "queries": asdict(found.queries),
        "mode": found.mode,
        "reranked": found.reranked,
        "measures": {name: dict(each) for name, each in found.measures.items()},
        "measures_of_stored": {name: dict(each) for name, each in found.measures_of_stored.items()},
        "compared_with": baseline.id if baseline else None,
        "passed": found.passed,
        "latency": dict(found.latency),
        "bytes": dict(found.bytes),
        "details": dict(found.details),
    }
