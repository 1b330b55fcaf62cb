"""Judge a space: everything that is known of it, and what both spaces answer."""

from typing import Any

from assets.work.changing.standing import index_of
from assets.work.gating import comparing, holding
from assets.work.gating.asking import embed, queries_of
from assets.work.gating.verdict import Row, Verdict
from assets.work.opened import Opened
from resources.core.errors import EmbeddingsError
from resources.core.progress import doing
from resources.registry.pipeline_spaces import SpaceEntry


def judge(o: Opened, entry: SpaceEntry) -> Verdict:
    """Whether a space may take the place of the one that serves.

    What was measured before, of the same queries and the same state of both, is used again.

    Args:
        o: The pipeline.
        entry: The space.

    Returns:
        The verdict; an error that keeps the gate from judging stands in it.
    """
    settings = o.settings
    served = settings.record.entry(settings.record.serving)
    known = _Known(Verdict(entry.space_id, served.space_id if served else ""))
    try:
        with doing(f"judging whether {entry.space_id} may serve", patient=True):
            return _judged(settings, entry, served, known)
    except EmbeddingsError as error:
        return known.verdict(cannot=str(error))


class _Known:
    """What is known before everything is."""

    def __init__(self, verdict: Verdict) -> None:
        self._space, self._serving = verdict.space, verdict.serving
        self.rows: list[Row] = []

    def add(self, *rows: Row) -> bool:
        """Returns whether all of them may pass."""
        self.rows += rows
        return all(row.passed is not False for row in rows)

    def verdict(self, **values: Any) -> Verdict:
        return Verdict(self._space, self._serving, self.rows, **values)


def _judged(o: Opened, entry: SpaceEntry, served: SpaceEntry | None, known: _Known) -> Verdict:
    gate = o.model_change.gate
    candidate = o.in_space(entry)
    serving = o.serving if served else None
    if not known.add(
        holding.coverage(candidate, entry, serving), holding.index(index_of(candidate))
    ):
        return known.verdict()  # what is not there yet is not worth asking
    if serving is None:
        known.add(holding.stored_bytes(candidate, None, gate), holding.month(candidate, None, gate))
        return known.verdict(notes=["no space serves yet: there is nothing to compare with"])
    queries = queries_of(o)
    if not o.evaluation.chosen:
        # A reranker would read the very words that are looked for.
        candidate, serving = candidate.again(), serving.again()
        for lane in (candidate, serving):
            vars(lane)["evaluation"] = o.evaluation.model_copy(update={"rerank": False})
    embed([candidate, serving], queries)
    compared = comparing.compare(serving, candidate, queries)
    known.add(
        *comparing.rows(o, compared, gate),
        holding.stored_bytes(candidate, serving, gate),
        holding.month(candidate, serving, gate),
    )
    facts = compared.candidate.queries
    notes = list(queries.notes)
    if not o.evaluation.chosen:
        notes.insert(0, "nobody has judged queries of this pipeline: they are made from documents")
    if facts.answerable < o.evaluation.min_queries:
        notes.append(f"{facts.answerable:,} queries tell little")
    return known.verdict(
        queries=f"{facts.answerable:,} queries {facts.description}",
        known_item=queries.known_item,
        notes=notes,
        evaluations={e.space: e.id for e in (compared.serving, compared.candidate)},
        measured=compared.new,
    )
