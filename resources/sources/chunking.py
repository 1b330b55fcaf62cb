"""Cut long documents into chunks, each with its place in the text and an id of its own.

A chunk's id comes from its content: an edit elsewhere in the document leaves it alone. Where it
stands is a carried field, so that a chunk that only moved is written again but not embedded.
A chunk is always a piece of the text as it is.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, model_validator

from resources.core.chunk_ids import chunk_id
from resources.core.chunks import Chunk, hash_fields, hash_text
from resources.core.config import StrictConfig
from resources.core.errors import ConfigurationError
from resources.core.spans import Length, Span, spans
from resources.models.model_folder import find_model
from resources.sources.records import SourceDocument

PLACE_FIELD = "chunk"
"""Carried with every chunk: `{index, start, end}`, and `headings` for Markdown."""

CodeLanguage = Literal[
    "c", "cobol", "cpp", "csharp", "elixir", "go", "haskell", "html", "java", "js", "kotlin",
    "latex", "lua", "php", "powershell", "proto", "python", "r", "rst", "ruby", "rust",
    "scala", "sol", "swift", "ts", "visualbasic6",
]  # fmt: skip


class NoChunking(StrictConfig):
    """Every document is one chunk, with the document's own id."""

    kind: Literal["none"] = "none"

    def chunks(self, document: SourceDocument) -> Iterator[Chunk]:
        yield Chunk.whole(document.id, document.text, document.fields)

    def describe(self) -> str | None:
        """What the lineage says of the chunker; nothing here."""
        return None


class _Chunking(StrictConfig):
    size: int = Field(default=1_000, ge=1, description="Characters of a chunk at most.")
    overlap: int = Field(
        default=100, ge=0, description="Characters that a chunk repeats of the one before it."
    )

    @model_validator(mode="after")
    def _less_overlap_than_size(self) -> "_Chunking":
        if self.overlap >= self.size:
            raise ValueError(
                f"overlap ({self.overlap}) must be smaller than size ({self.size}), or chunks "
                "would never end"
            )
        return self

    def chunks(self, document: SourceDocument) -> Iterator[Chunk]:
        """The document's chunks in order; a repeated piece of text is numbered.

        `text[start:end]` of the document is the chunk's text.
        """
        repeats = Counter[str]()
        for index, (start, text) in enumerate(self._pieces(document.text)):
            place: dict[str, Any] = {"index": index, "start": start, "end": start + len(text)}
            fields = {**document.fields, PLACE_FIELD: {**place, **self._about(document, start)}}
            text_hash = hash_text(text)
            repeats[text_hash] += 1
            yield Chunk(
                id=chunk_id(document.id, text_hash, repeats[text_hash]),
                source_id=document.id,
                text=text,
                text_hash=text_hash,
                fields=fields,
                fields_hash=hash_fields(fields),
            )

    def _pieces(self, whole: str) -> Iterator[tuple[int, str]]:
        """Offset and text of every piece, without the white space around it."""
        before = (-1, "")
        for start, end in self._spans(whole):
            raw = whole[start:end]
            piece = (end - len(raw.lstrip()), raw.strip())
            if piece[1] and piece != before:  # two may differ in white space only
                yield piece
            before = piece

    def describe(self) -> str | None:
        """What the lineage says of the chunker: kind and settings."""
        settings = {name: value for name, value in self if name != "kind"}
        listed = ", ".join(f"{name}={value}" for name, value in settings.items())
        return f"{getattr(self, 'kind')}({listed})"  # noqa: B009

    def _about(self, document: SourceDocument, start: int) -> dict[str, Any]:
        return {}

    def _spans(self, text: str) -> Iterator[Span]:
        return spans(text, size=self.size, overlap=self.overlap)


class RecursiveChunking(_Chunking):
    """At paragraphs where they fit, else at lines, else at words."""

    kind: Literal["recursive"] = "recursive"


class TokenChunking(_Chunking):
    """As recursive, but measured in tokens of a model."""

    kind: Literal["token"] = "token"
    size: int = Field(default=256, ge=1, description="Tokens of a chunk at most.")
    overlap: int = Field(default=32, ge=0, description="Tokens that a chunk repeats.")
    tokenizer: str = Field(
        description="The model whose tokens count: a name on the hub, or a folder."
    )

    def _spans(self, text: str) -> Iterator[Span]:
        length = _tokens(self.tokenizer)
        return spans(text, size=self.size, overlap=self.overlap, length=length)


class MarkdownChunking(_Chunking):
    """At headings first; a chunk carries the headings that it stands under."""

    kind: Literal["markdown"] = "markdown"

    def _spans(self, text: str) -> Iterator[Span]:
        return spans(text, size=self.size, overlap=self.overlap, language="markdown")

    def _about(self, document: SourceDocument, start: int) -> dict[str, Any]:
        path: list[tuple[int, str]] = []
        for at, level, title in _headings(document.text):
            if at > start:
                break
            path = [*(above for above in path if above[0] < level), (level, title)]
        return {"headings": [title for _, title in path]}


class CodeChunking(_Chunking):
    """At classes and functions of a programming language first."""

    kind: Literal["code"] = "code"
    language: CodeLanguage = Field(description="The language of all documents of the source.")

    def _spans(self, text: str) -> Iterator[Span]:
        return spans(text, size=self.size, overlap=self.overlap, language=self.language)


_LINE_END = re.compile(r"\r{0,2}\n|\r")

Chunking = NoChunking | RecursiveChunking | TokenChunking | MarkdownChunking | CodeChunking


@lru_cache(maxsize=8)
def _tokens(model: str) -> Length:
    """Counts the tokens of a text as the model's tokenizer does."""
    from tokenizers import Tokenizer

    folder = find_model(model).path
    files = sorted(folder.glob("**/tokenizer.json"))
    if not files:
        raise ConfigurationError(
            f"model {model!r} has no tokenizer.json in {folder}: name another as `tokenizer`, or "
            "use `chunking: {recursive: …}`"
        )
    tokenizer = Tokenizer.from_file(str(files[0]))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


@lru_cache(maxsize=2)
def _headings(text: str) -> list[tuple[int, int, str]]:
    """Offset, level and title of every heading, as CommonMark has them."""
    from markdown_it import MarkdownIt

    # markdown-it knows lines, not offsets, and would take CRCRLF, one line end that was written
    # as text twice, for two.
    lines = _LINE_END.split(text)
    starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
    tokens = MarkdownIt("commonmark").parse("\n".join(lines))
    return [
        (starts[token.map[0]], int(token.tag[1:]), tokens[position + 1].content)
        for position, token in enumerate(tokens)
        if token.type == "heading_open" and token.map
    ]
