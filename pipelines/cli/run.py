"""`embeddings run`: bring a pipeline's vectors and its index up to date."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli.options import AsJson, Configs, Pipeline, progress_apart, sentences
from pipelines.cli.terminal import facts, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from assets.work.candidate import Candidate
    from assets.work.embedded import Embedded
    from assets.work.quality import Measured
    from pipelines.framework.outcome import RunOutcome

REASONS = 3
"""Of the quarantine, that are named; its list has all."""


def run(pipeline: Pipeline, as_json: AsJson = False, config: Configs = None) -> None:
    """Materialize a pipeline: embed what is new or changed, bring its index up to date."""
    from pipelines.framework import execution

    with sentences():
        with progress_apart(as_json):
            say("[bold]{pipeline}[/bold]", pipeline=pipeline)
            outcome = execution.run(pipeline, config or [])
        if as_json:
            print_json(outcome.to_json(pipeline))
        else:
            show(outcome, pipeline, config or [])


def show(outcome: "RunOutcome", pipeline: str, config: Sequence[Path] = ()) -> None:
    """What a run did.

    Args:
        outcome: Of the run.
        pipeline: As it was named for the run, and so it is in commands that go on from there.
        config: Files that were given for it; the same.
    """
    candidate, quarantined = outcome.candidate, outcome.stored.quarantined
    rows = {} if outcome.left_alone else _lane(outcome)
    if outcome.measured is not None:
        rows["search_quality"] = quality(outcome.measured)
    if rows:
        facts(rows)
    files = [part for file in config for part in ("-c", str(file))]
    if candidate is not None:
        _beside(outcome, candidate, pipeline, files)
        quarantined = {**quarantined, **candidate.stored.quarantined}
    if quarantined:
        command = shlex.join(["embeddings", "quarantine", "list", pipeline, *files])
        say("what is in quarantine, and why: [bold]{command}[/bold]", command=command)
    for name, description in outcome.failed_checks:
        say("[yellow]check {name}:[/yellow] {why}", name=name, why=description)
    for note in outcome.notes:
        say("[yellow]note:[/yellow] {note}", note=note)


def _lane(done: "RunOutcome | Candidate") -> dict[str, str]:
    """What was done in one space, by asset."""
    report, quarantined = done.indexed.report, done.stored.quarantined
    rows = {
        "source_documents": _source(done),
        "embedding_batches": _embedding(done),
        "stored_vectors": _stored(done),
        "search_index": f"{report.indexed:,} of {report.stored:,} indexed by the engine "
        f"{report.engine}" + ("" if report.changed else ", up to date"),
    }
    if quarantined:
        rows["quarantine"] = f"{sum(quarantined.values()):,}: {_listed(quarantined)}"
    return rows


def _beside(outcome: "RunOutcome", built: "Candidate", pipeline: str, files: Sequence[str]) -> None:
    """What was built beside the space that serves, how complete it is, and what is next."""
    entry = built.entry
    if outcome.left_alone:
        say(
            "the space {space} serves and was left as it is: `keep_serving: false`",
            space=built.serving,
        )
    begun = "begun by an earlier run" if built.resumed else "begun by this run"
    say("beside it, the space [bold]{space}[/bold], {begun}:", space=entry.space_id, begun=begun)
    whole = "complete" if not entry.missing else f"{entry.missing:,} of them missing"
    apart = f", {entry.quarantined:,} in quarantine" if entry.quarantined else ""
    coverage = f"{entry.vectors:,} vectors for {entry.chunks:,} chunks{apart}: {whole}"
    facts({**_lane(built), "coverage": coverage})
    if entry.missing:
        say("it can serve once it is complete: run it again")
    elif outcome.promoted:
        say("it serves from now on: `promote: auto`")
    else:
        command = shlex.join(["embeddings", "promote", pipeline, entry.space_id, *files])
        say("to let it serve: [bold]{command}[/bold]", command=command)


def quality(measured: "Measured") -> str:
    """How good searches are, in a line: `nDCG@10 0.87 (0.82 to 0.91) on 64 queries`."""
    from resources.evaluation.measures import MEASURES

    found, before = measured.evaluation, measured.baseline
    name, each = next(iter(found.measures.items()))
    said = f"{MEASURES[name]} {each['mean']:.4f} ({each['low']:.2f} to {each['high']:.2f})"
    said += f" on {found.queries.answerable:,} queries"
    if found.queries.unanswerable:
        said += f" ({found.queries.unanswerable:,} without answer apart)"
    if before is not None and name in before.measures:
        said += f", {each['mean'] - before.measures[name]['mean']:+.4f} since {before.id}"
    return said + (", as measured before: nothing has changed" if measured.reused else "")


_SAID = {
    "new": "new",
    "changed": "changed",
    "cut": "that were cut",
    "reformatted": "to store in another format",
    "rechunked": "cut the same by another chunker",
    "refreshed": "with changed fields",
    "held": "refused before",
    "unchanged": "unchanged",
}
_ALWAYS = ("new", "changed", "unchanged")


def _source(outcome: "RunOutcome | Candidate") -> str:
    """What was read, and what became of it: but for what is deleted or rejected, it adds up."""
    found, counts = outcome.planned.found, outcome.planned.found.counts
    said = f"{found.documents:,} documents"
    # Of documents that are cut, or where some cannot be stored.
    if outcome.planned.chunked or counts.source != found.documents:
        said += f" in {counts.source:,} chunks"
    kinds = counts.of_source()
    others = [f"{n:,} of the space {space}" for space, n in counts.replaced_spaces.items()]
    words = {**_SAID, "changed": f"changed ({', '.join(others)})" if others else "changed"}
    parts = [f"{kinds[kind]:,} {words[kind]}" for kind in words if kinds[kind] or kind in _ALWAYS]
    parts += [f"{counts.deleted:,} deleted"]
    parts += [f"{counts.outdated:,} outdated"] if counts.outdated else []
    parts += [f"{found.rejected:,} quarantined"] if found.rejected else []
    return f"{said}: {', '.join(parts)}"


def _embedding(outcome: "RunOutcome | Candidate") -> str:
    batches, counts = outcome.embedded, outcome.planned.found.counts
    said = "nothing embedded"
    if batches.embedded:
        said = f"{batches.embedded:,} texts by {batches.model} in {batches.seconds:.1f} s"
        said += _bill(batches)
    elif not (counts.reused or counts.narrowed or batches.refused):
        said += ": every text has its vector" + (", or stands in quarantine" * bool(counts.held))
    if counts.reused:
        said += f"; {counts.reused:,} vectors reused"
    if counts.narrowed:
        said += f"; {counts.narrowed:,} cut from wider vectors"
    if batches.truncated:
        said += f"; {batches.truncated:,} texts longer than the model reads"
    if batches.refused:
        said += f"; {batches.refused:,} refused: {_listed(batches.refusals)}"
    return said


def _bill(batches: "Embedded") -> str:
    from assets.work.budget import dollars

    tokens = "" if batches.tokens is None else f", {batches.tokens:,} tokens"
    return tokens + ("" if batches.cost_usd is None else f", {dollars(batches.cost_usd)}")


def _stored(outcome: "RunOutcome | Candidate") -> str:
    stored, written = outcome.stored, outcome.stored.written
    parts = [f"{written.vectors:,} written"]
    for count, what in (
        (written.refreshed, "refreshed"),
        (written.withdrawn, "withdrawn"),
        (stored.aside, "set aside"),
    ):
        parts += [f"{count:,} {what}"] if count else []
    return ", ".join([*parts, f"{stored.total:,} stored"])


def _listed(reasons: Mapping[str, int]) -> str:
    """Reasons by how often they were given, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda each: -each[1])
    said = [f"{reason} ({count:,})" for reason, count in ordered[:REASONS]]
    return "; ".join(said) + ("; …" if len(ordered) > REASONS else "")
