"""What was found, as files of TREC's, which every tool of the field reads."""

import re
from pathlib import Path

from assets.work.evaluating.figures import Row
from assets.work.evaluating.measuring import Measured
from assets.work.evaluating.sample import Sample
from resources.evaluation.trec import token

QRELS = "qrels.txt"


class RunFiles:
    """A folder with the judgements, and a run for every row; ids as in `resources.evaluation.trec`.

    Attributes:
        names: Of the files that were written.
    """

    def __init__(self, folder: Path, sample: Sample) -> None:
        self.folder, self._sample = folder, sample
        self.names: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)  # now, and not after something was paid for

    def write(self, measured: Measured) -> None:
        """Write a row's run; each place has a score of its own, so that nothing ties."""
        if not self.names:
            self._write_judgements()
        name = f"{measured.number:02d}-{_tag(measured.row)}.run"
        with (self.folder / name).open("w", encoding="utf-8") as file:
            for ranking in measured.rankings():
                query, tag = token(ranking.query, bare_is_text=True), _tag(measured.row)
                for at, document in enumerate(ranking.ids):
                    file.write(f"{query} Q0 {token(document)} {at + 1} {-at} {tag}\n")
        self.names.append(str(self.folder / name))

    def _write_judgements(self) -> None:
        with (self.folder / QRELS).open("w", encoding="utf-8") as file:
            for window in self._sample.queries(1_000):
                for query in window:
                    name = token(query.id, bare_is_text=True)
                    for each in query.judgements:
                        file.write(f"{name} 0 {token(each.id)} {each.grade}\n")
        self.names.append(str(self.folder / QRELS))


def _tag(row: Row) -> str:
    parts = [row.candidate, str(row.dimensions or ""), row.stored_as, row.mode]
    parts += ["reranked"] if row.reranked else []
    joined = "-".join(part for part in parts if part)
    return re.sub(r"[^A-Za-z0-9.]+", "-", joined).strip("-")[:100]
