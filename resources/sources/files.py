"""Files of one format, and records of JSONL files."""

import codecs
import io
import json
from collections.abc import Iterator
from typing import IO, Literal

from pydantic import Field, field_validator

from resources.config import StrictConfig
from resources.errors import SourceError
from resources.sources.locate import FoundFile, find_files, location, shown
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import rejected
from resources.sources.shape import RecordShape

# More than a MongoDB document can hold. A longer line is taken for damage: reading on could
# bring the whole file into memory.
LONGEST_LINE = 64 * 1024**2
READ_AHEAD = 1024**2

ENCODING = "The encoding of the file; a byte order mark of UTF-8 is ignored."


class FileOrigin(StrictConfig):
    """One or several files of one format."""

    path: str = Field(
        description="A file, a glob such as data/*.jsonl, or an fsspec URL such as s3://…; "
        "a relative path starts at the project's folder."
    )

    @field_validator("path")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("path is empty: name a file, a glob or a URL")
        return value

    def records(self, shape: RecordShape) -> Iterator[SourceDocument | RejectedRecord]:
        for file in find_files(self.path):
            yield from self._of_file(file, shape)

    def _of_file(
        self, file: FoundFile, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        raise NotImplementedError

    def describe(self) -> str:
        return f"{type(self).model_fields['kind'].default} {shown(self.path)}"

    def uri(self) -> str | None:
        return location(self.path)


def check_columns(file: FoundFile, shape: RecordShape, missing: list[str], known: str) -> None:
    """SourceError if a file of columns lacks one that every record needs."""
    for column in missing:
        setting = shape.required[column]
        raise SourceError(
            f"{file.name} has no column {column!r}, which the setting {setting} asks for: "
            f"its columns are {known}"
        )


class JsonlOrigin(FileOrigin):
    kind: Literal["jsonl"] = "jsonl"
    encoding: str = Field(default="utf-8", description=ENCODING)

    @field_validator("encoding")
    @classmethod
    def _line_by_line(cls, value: str) -> str:
        if encoded("a\n", value).removeprefix(codecs.BOM_UTF8) != b"a\n":
            raise ValueError(f"encoding {value} has no plain line ends: convert the file to utf-8")
        return value

    def _of_file(
        self, file: FoundFile, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        with file.reading(mode="rb", compression="infer") as raw:
            # Not every file of fsspec can read a line of limited length; none reads many fast.
            stream = io.BufferedReader(raw, READ_AHEAD)
            name, number = file.name, 0
            while line := stream.readline(LONGEST_LINE):
                number += 1
                where = f"{name}:{number}"
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    _skip_line(stream)
                    start = line[:500].decode(self.encoding, "replace")
                    yield rejected(where, f"longer than {LONGEST_LINE >> 20} MiB", start)
                elif not line.isspace():
                    yield self._of_line(line, where, shape)

    def _of_line(
        self, line: bytes, where: str, shape: RecordShape
    ) -> SourceDocument | RejectedRecord:
        line = line.removeprefix(codecs.BOM_UTF8).strip()
        try:
            text = line.decode(self.encoding)
        except UnicodeDecodeError as error:
            reason = f"not valid {self.encoding} at byte {error.start + 1} of the line"
            return rejected(where, reason, line[:500].decode(self.encoding, "backslashreplace"))
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            return rejected(where, f"not JSON: {error.msg} at column {error.colno}", text)
        except (ValueError, RecursionError) as error:
            return rejected(where, f"JSON that cannot be read: {error}", text)
        if not isinstance(record, dict):
            return rejected(where, "JSON, but not an object", text)
        return shape.document(record, where, found=text)


def _skip_line(stream: IO[bytes]) -> None:
    while (rest := stream.readline(1024**2)) and not rest.endswith(b"\n"):
        pass


def encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is unknown: for example utf-8 or cp1252") from None
