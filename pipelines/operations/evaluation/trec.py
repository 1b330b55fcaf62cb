"""What candidates found, as files of TREC's, which every tool of the field reads."""

import re
from pathlib import Path

from assets.work.evaluating.figures import Row
from assets.work.evaluating.measuring import Measured
from assets.work.evaluating.sample import Sample
from resources.core.errors import EvaluationError
from resources.evaluation.runs import judgement_lines, run_lines

QRELS = "qrels.txt"


class RunFiles:
    """A folder with the judgements, and a run for every row: see `resources.evaluation.runs`.

    Attributes:
        names: Of the files that were written.
    """

    def __init__(self, folder: Path, sample: Sample) -> None:
        self.folder, self._sample = folder, sample
        self.names: list[str] = []
        make_folder(folder)  # now, and not after something was paid for

    def write(self, measured: Measured) -> None:
        """Write a row's run."""
        if not self.names:
            self._write_judgements()
        tag = _tag(measured.row)
        path = self.folder / f"{measured.number:02d}-{tag}.run"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(run_lines(measured.rankings(), tag))
        self.names.append(str(path))

    def _write_judgements(self) -> None:
        path = self.folder / QRELS
        with path.open("w", encoding="utf-8") as file:
            for window in self._sample.queries(1_000):
                file.writelines(judgement_lines(window))
        self.names.append(str(path))


def make_folder(folder: Path) -> None:
    """See that it is there.

    Raises:
        EvaluationError: It cannot be, such as where a file has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(
            f"TREC's files cannot be written to {folder} ({error.strerror}): name a folder, which "
            "is made where there is none"
        ) from error


def _tag(row: Row) -> str:
    parts = [row.candidate, str(row.dimensions or ""), row.stored_as, row.mode]
    parts += ["reranked"] if row.reranked else []
    joined = "-".join(part for part in parts if part)
    return re.sub(r"[^A-Za-z0-9.]+", "-", joined).strip("-")[:100]
