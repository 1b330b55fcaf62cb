"""Text files of a folder, each one document."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from fsspec.spec import AbstractFileSystem
from fsspec.utils import glob_translate
from pydantic import Field, field_validator

from resources.core.config import StrictConfig
from resources.core.errors import SourceError
from resources.sources.locate import UNREADABLE, FoundFile, cause, find_folder, location, shown
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import rejected
from resources.sources.shape import RecordShape

# What a MongoDB document can hold; a larger file cannot become one and is not read at all.
LARGEST_FILE = 16 * 1024**2


class FolderOrigin(StrictConfig):
    """The id is the path within the folder, the text the whole file.

    `carry` may name `path`, `modified` (UTC) and `bytes`. Hidden files and folders are left out,
    and folders that are symbolic links are not entered.
    """

    kind: Literal["folder"] = "folder"
    path: str = Field(
        description="A folder or its fsspec URL; a relative path starts at the project's folder."
    )
    patterns: list[str] = Field(
        default=["**/*.md", "**/*.txt"],
        description="Globs over paths within the folder; `**/` is any number of folders.",
    )

    @field_validator("path")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("path is empty: name a folder")
        return value

    @field_validator("patterns")
    @classmethod
    def _globs(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("patterns is empty: name one, such as '**/*.md'")
        for pattern in value:
            if not pattern.strip() or pattern.startswith("/"):
                raise ValueError(f"pattern {pattern!r} is no glob within the folder")
            try:
                glob_translate(pattern)
            except ValueError as error:
                raise ValueError(f"pattern {pattern!r} cannot be read: {error}") from None
        return value

    def records(self, shape: RecordShape) -> Iterator[SourceDocument | RejectedRecord]:
        filesystem, root = find_folder(self.path)
        for path, info in self._matching(filesystem, root):
            file = FoundFile(filesystem, f"{root.rstrip('/')}/{path}")
            yield _of_file(file, path, info.get("size") or 0, shape)

    def listed(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The files, and what their file system says of each now.

        Raises:
            SourceError: There are none, or they cannot be listed.
        """
        filesystem, root = find_folder(self.path)
        filesystem.invalidate_cache()
        return self._matching(filesystem, root)

    def _matching(
        self, filesystem: AbstractFileSystem, root: str
    ) -> list[tuple[str, Mapping[str, Any]]]:
        globs = [re.compile(glob_translate(pattern)) for pattern in self.patterns]
        try:
            listed: Any = filesystem.find(root, detail=True)
        except UNREADABLE as error:
            raise SourceError(f"{shown(self.path)} cannot be listed: {cause(error)}") from error
        files: dict[str, Mapping[str, Any]] = {
            name[len(root) :].lstrip("/"): info
            for name, info in listed.items()
            if info["type"] == "file"
        }
        found = [
            (path, files[path])
            for path in sorted(files)
            if not re.search(r"(^|/)\.", path) and any(glob.match(path) for glob in globs)
        ]
        if not found:
            raise SourceError(f"no file in {shown(self.path)} matches {', '.join(self.patterns)}")
        return found

    def describe(self) -> str:
        return f"folder {shown(self.path)} ({', '.join(self.patterns)})"

    def uri(self) -> str | None:
        return location(self.path)


def _of_file(
    file: FoundFile, path: str, size: int, shape: RecordShape
) -> SourceDocument | RejectedRecord:
    if size > LARGEST_FILE:
        reason = f"{size >> 20} MiB, and a MongoDB document holds {LARGEST_FILE >> 20} MiB at most"
        return rejected(file.name, reason, "", path)
    try:
        with file.reading(mode="rb") as stream:
            content = stream.read()
    except SourceError as error:  # one file that cannot be read is one bad record
        return rejected(file.name, str(error), "", path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"not valid utf-8 at byte {error.start + 1}"
        return rejected(file.name, reason, content[:500].decode("utf-8", "backslashreplace"), path)
    fields: dict[str, Any] = {"path": path, "bytes": len(content)}
    if "modified" in shape.carry:  # a request of its own on an object store
        fields |= _modified(file)
    return shape.given(path, text, "the file", file.name, fields)


def _modified(file: FoundFile) -> dict[str, Any]:
    try:
        return {"modified": file.filesystem.modified(file.path)}
    except (NotImplementedError, OSError):
        return {}
