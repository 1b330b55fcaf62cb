"""What was found, as files of TREC's, which every tool of the field reads."""

import re
from pathlib import Path
from urllib.parse import quote

from assets.work.evaluating.figures import Row
from assets.work.evaluating.measuring import Measured
from assets.work.evaluating.sample import Sample
from resources.core.keys import key

QRELS = "qrels.txt"
_SAFE = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"


class RunFiles:
    """A folder with the judgements, and a run for every row.

    Ids are written as MongoDB tells them apart, their type before them: `sfilm` is a text, `n5` the
    number; what is white space in them, or no ASCII, as in a URL.

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
                for at, document in enumerate(ranking.keys):
                    file.write(
                        f"{_written(ranking.query)} Q0 {_written(document)} {at + 1} {-at} "
                        f"{_tag(measured.row)}\n"
                    )
        self.names.append(str(self.folder / name))

    def _write_judgements(self) -> None:
        with (self.folder / QRELS).open("w", encoding="utf-8") as file:
            for window in self._sample.queries(1_000):
                for query in window:
                    for each in query.judgements:
                        file.write(
                            f"{_written(query.id)} 0 {_written(key(each.id))} {each.grade}\n"
                        )
        self.names.append(str(self.folder / QRELS))


def _tag(row: Row) -> str:
    parts = [row.candidate, str(row.dimensions or ""), row.stored_as, row.mode]
    parts += ["reranked"] if row.reranked else []
    joined = "-".join(part for part in parts if part)
    return re.sub(r"[^A-Za-z0-9.]+", "-", joined).strip("-")[:100]


def _written(text: str) -> str:
    return quote(text, safe=_SAFE)
