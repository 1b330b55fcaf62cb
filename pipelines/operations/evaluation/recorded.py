"""Evaluations that were recorded: which one later ones are compared with, and what they found."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.evaluation.trec import make_folder
from resources.core.errors import EvaluationError
from resources.evaluation.rankings import Ranking
from resources.evaluation.runs import judgement_lines, run_lines
from resources.registry.evaluations import Evaluation

NAMED = 5
"""Of those that there are."""
RUN, QRELS = "run.txt", "qrels.txt"


def accept(
    pipeline: EmbeddingPipeline | str, id_or_run: str, overrides: Sequence[str | Path] = ()
) -> Evaluation:
    """Let later evaluations be compared with this one, and not with the last that passed.

    Args:
        pipeline: Itself or its name.
        id_or_run: Id of an evaluation, or of the run that measured; `last` is the newest.
        overrides: YAML run configs merged on top of the pipeline's own.

    Raises:
        EvaluationError: There is none of this name.
    """
    with open_pipeline(pipeline, overrides) as o:
        evaluations = o.registry.evaluations
        newest = evaluations.current(o.name) if id_or_run == "last" else None
        found = evaluations.accept(o.name, newest.id if newest else id_or_run)
        if found is None:
            raise EvaluationError(_none(o.name, id_or_run, evaluations.history(o.name, NAMED)))
        return found


def export_recorded(
    pipeline: EmbeddingPipeline | str,
    folder: Path,
    overrides: Sequence[str | Path] = (),
) -> list[Path]:
    """Write what the newest evaluation of what serves found, and the judgements, in TREC's format.

    Args:
        pipeline: Itself or its name.
        folder: Gets `run.txt` and `qrels.txt`.
        overrides: YAML run configs merged on top of the pipeline's own.

    Returns:
        The files.

    Raises:
        EvaluationError: Nothing was measured yet, or of other queries than there are now; the
            folder cannot be made.
        BatchStoreError: What was found is not kept any more.
    """
    with open_pipeline(pipeline, overrides) as o:
        newest = o.registry.evaluations.current(o.name)
        if newest is None:
            raise EvaluationError(_none(o.name, "", []))
        rankings = (
            Ranking(row.query, row.ids, row.scores)
            for row in o.batches.rankings.read(o.name, newest.id)
        )
        make_folder(folder)
        with (folder / RUN).open("w", encoding="utf-8") as file:
            file.writelines(run_lines(rankings, newest.id))
        with (folder / QRELS).open("w", encoding="utf-8") as file:
            file.writelines(judgement_lines(o.judged_queries))
        return [folder / RUN, folder / QRELS]


def _none(pipeline: str, wanted: str, there: Sequence[Evaluation]) -> str:
    run = f"`embeddings run {pipeline}` measures where `evaluation` chooses queries"
    if not there:
        return f"of {pipeline} nothing was measured yet: {run}"
    listed = ", ".join(f"{each.id} (run {each.run[:8]})" for each in there)
    return f"pipeline {pipeline} has no evaluation {wanted!r}; the newest are {listed}"
