"""Files of one format."""

from collections.abc import Iterator

from pydantic import Field, field_validator

from resources.core.config import StrictConfig
from resources.core.errors import SourceError
from resources.sources.locate import FoundFile, find_files, location, shown
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.shape import RecordShape

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


def encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is unknown: for example utf-8 or cp1252") from None
