"""The commands of README and docs/, and those of them that no test runs, each with its reason."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.markdown import Document

NOT_RUN = {
    r"make (demo|test|proofs)\b": "installs packages, minutes",
    r"make (dev|docs|pictures|mutants|lint|types|constraints)\b": "for the checkout itself",
    r"PIP_EXTRA_INDEX_URL=": "a public package index",
    r"pip install ": "a public package index; test_installed.py installs the wheel",
    r"python -m venv ": "makes an environment; test_installed.py does",
    r"docker ": "Docker",
    r"cp deploy/": "the production deployment; tests/deploy reads its files",
    r"celery ": "does not end; tests/proofs/test_machines.py starts workers",
    r"(DAGSTER_HOME=\S+ )?dagster dev": "does not end; tests/test_ui.py starts it",
    r"(EMBEDDINGS_TOKEN=.* )?embeddings serve": "does not end; tests/pipelines/serving starts it",
    r"curl ": "asks what `embeddings serve` would answer; tests/pipelines/serving asks it",
    r"embeddings (run|search|evaluate) .*-c embedder/(voyage|openai)\.yaml": "a key, and money",
    r"embeddings .*-c rerank/": "a model from the hub, or a key",
    r"python examples/rag\.py .*--base-url": "a model server; tests/examples has one",
    r"python -m benchmarks\.": "minutes to hours",
    r"(\.venv/bin/)?(python -m )?pytest ": "these tests",
}

_STARTS = r"(\w+=\S+ )*(embeddings|make|dagster|python|docker|pip|curl) "
_FORM = re.compile(r"\b[A-Z]{2,}\b|…")
"""What stands for something of the reader's: `embeddings index drop PIPELINE`."""


@dataclass(frozen=True)
class Line:
    """A command as a reader would type it."""

    text: str
    place: str

    @property
    def not_run(self) -> str | None:
        """Why no test runs it."""
        return next((why for says, why in NOT_RUN.items() if re.match(says, self.text)), None)

    @property
    def is_form(self) -> bool:
        """Whether it has places for the reader to fill in."""
        said = " ".join(word for word in shlex.split(self.text) if "=" not in word)
        return bool(_FORM.search(said)) and not self.text.startswith("export ")


def lines(document: Document) -> Iterator[Line]:
    """Of blocks, in their order, then those within the text."""
    for block in document.blocks("sh"):
        for text in block.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(text, comments=True):
                yield Line(_uncommented(text) if words else text, block.place)
    for code, place in document.code():
        if re.match(_STARTS, code):
            yield Line(code, place)


def _uncommented(text: str) -> str:
    """Without the remark at its end, quotes as they are."""
    lexer = shlex.shlex(text, posix=False, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, "#"
    return " ".join(lexer)
