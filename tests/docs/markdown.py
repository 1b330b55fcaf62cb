"""What stands in the project's Markdown: blocks, pieces of code, headings and links."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from resources.core.paths import CODE_ROOT

GENERATED = ("settings.md", "commands.md")

_FILE = re.compile(r"# ((?:configs|pipelines|data)/\S+|workspace\.yaml)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: As it is said behind the fence; empty where it is not.
        place: File and line.
    """

    language: str
    text: str
    place: str

    @property
    def file(self) -> str | None:
        """The file that the first line says it is: `# configs/products.yaml`."""
        found = _FILE.match(self.text)
        return found[1] if found else None

    @property
    def content(self) -> str:
        """The text, without the line that names the file."""
        return _FILE.sub("", self.text, count=1)


@dataclass(frozen=True)
class Document:
    path: Path

    @property
    def name(self) -> str:
        return Path(os.path.relpath(self.path, CODE_ROOT)).as_posix()

    @property
    def generated(self) -> bool:
        return self.path.name in GENERATED

    def blocks(self, *languages: str) -> list[Block]:
        return [
            Block(token.info, token.content, f"{self.name}:{token.map[0] + 1}")
            for token in _tokens(self.path)
            if token.type == "fence" and token.map and token.info in languages
        ]

    def code(self) -> Iterator[tuple[str, str]]:
        """Pieces of code within the text and in tables, each with its place."""
        for token, line in self._inline():
            if token.type == "code_inline":
                yield token.content, f"{self.name}:{line}"

    def links(self) -> Iterator[tuple[str, str]]:
        """Where links and pictures lead, each with its place."""
        for token, line in self._inline():
            target = token.attrGet("href" if token.type == "link_open" else "src")
            if token.type in ("link_open", "image") and target:
                yield str(target), f"{self.name}:{line}"

    def anchors(self) -> set[str]:
        """Of the headings, as GitHub makes them."""
        tokens, found, seen = _tokens(self.path), set(), Counter[str]()
        for heading, inline in pairwise(tokens):
            if heading.type == "heading_open":
                text = "".join(child.content for child in inline.children or [])
                anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
                found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
                seen[anchor] += 1
        return found

    def _inline(self) -> Iterator[tuple[Token, int]]:
        for token in _tokens(self.path):
            for child in token.children or []:
                yield child, (token.map[0] + 1 if token.map else 0)


def documents() -> list[Document]:
    """README first, as a newcomer reads them."""
    root = [CODE_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    found = [*root, *sorted((CODE_ROOT / "docs").glob("*.md"))]
    return [Document(path) for path in found if path.exists()]


@cache
def _tokens(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text("utf-8"))
