import datetime
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

import resources.sources.folder
from resources.core.errors import SourceError
from resources.sources.records import SourceDocument
from tests.resources.sources.reading import read, source, write

MOMENT = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "odd [name] *"
    for name in ("b.md", "a/deep/c.txt", "a/d.md", "a/e.py", ".hidden.md", ".git/f.md"):
        write(root / name, f"text of {name}")
    return root


def test_files_are_documents(folder: Path) -> None:
    os.utime(folder / "b.md", (MOMENT.timestamp(), MOMENT.timestamp()))
    resource = source({"folder": {"path": str(folder)}}, carry=["path", "modified", "bytes", "x"])
    documents, rejections = read(resource)
    assert [document.id for document in documents] == ["a/d.md", "a/deep/c.txt", "b.md"]
    assert documents[2] == SourceDocument(
        "b.md", "text of b.md", {"path": "b.md", "modified": MOMENT, "bytes": 12}
    )
    assert not rejections
    assert resource.describe() == f"folder {folder} (**/*.md, **/*.txt)"


def test_the_settings_of_fields_do_not_apply(folder: Path) -> None:
    resource = source({"folder": {"path": str(folder)}}, text="{title}", id_field="slug", limit=1)
    assert read(resource)[0] == [SourceDocument("a/d.md", "text of a/d.md")]


@pytest.mark.parametrize(
    ("patterns", "ids"),
    [
        (["*.md"], ["b.md"]),
        (["a/*"], ["a/d.md", "a/e.py"]),
        (["**/*.py", "*.md", "b.*"], ["a/e.py", "b.md"]),
        (["a/**/*.txt"], ["a/deep/c.txt"]),
    ],
)
def test_patterns(folder: Path, patterns: list[str], ids: list[str]) -> None:
    documents, _ = read(source({"folder": {"path": str(folder), "patterns": patterns}}))
    assert [document.id for document in documents] == ids


def test_bad_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.sources.folder, "LARGEST_FILE", 1024**2)
    write(folder / "bom.md", b"\xef\xbb\xbftext")
    write(folder / "empty.md", "")
    write(folder / "latin.md", b"caf\xe9")
    write(folder / "large.md", b"a" * (1024**2 + 1))
    write(folder / "space.md", " \n")
    write(folder / "locked.md", "text")
    os.symlink("nowhere", folder / "broken.md")
    os.symlink("..", folder / "a" / "loop")
    write(folder / os.fsdecode(b"name-\xe9.md"), "text")
    opens = LocalFileSystem._open

    def refuse(self: LocalFileSystem, path: str, *args: object, **options: object) -> object:
        if path.endswith("locked.md"):
            raise PermissionError(13, "Permission denied")
        return opens(self, path, *args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(LocalFileSystem, "_open", refuse)
    documents, rejections = read(source({"folder": {"path": str(folder)}}))
    assert {document.id for document in documents} == {"a/d.md", "a/deep/c.txt", "b.md", "bom.md"}
    assert next(document.text for document in documents if document.id == "bom.md") == "text"
    found = {Path(rejection.where).name: rejection for rejection in rejections}
    assert {name: rejection.reason for name, rejection in found.items()} == {
        "empty.md": "the file is empty",
        "latin.md": "not valid utf-8 at byte 4",
        "large.md": "1 MiB, and a MongoDB document holds 1 MiB at most",
        "locked.md": f"{folder}/locked.md cannot be read: Permission denied",
        "name-\\udce9.md": "the id is not valid UTF-8: it holds a lone surrogate",
        "space.md": "the file is only whitespace",
    }
    assert found["latin.md"].id == "latin.md"
    assert found["latin.md"].excerpt == "caf\\xe9"
    assert found["name-\\udce9.md"].id is None


def test_a_folder_elsewhere() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/docs/a.md", b"text")
    store.pipe("/docs/b/c.txt", b"text")
    documents, _ = read(source({"folder": {"path": "memory://docs"}}, carry=["modified"]))
    assert [document.id for document in documents] == ["a.md", "b/c.txt"]
    modified = documents[0].fields["modified"]
    assert modified.utcoffset() == datetime.timedelta(0)


def test_folders_that_are_not_there(folder: Path) -> None:
    for path, patterns, sentence in (
        (f"{folder}/none", ["*"], "there is no folder "),
        (f"{folder}/b.md", ["*"], "is a file: name the folder that it lies in"),
        (str(folder), ["*.rst", "*.adoc"], r"no file in .* matches \*.rst, \*.adoc"),
    ):
        with pytest.raises(SourceError, match=sentence):
            read(source({"folder": {"path": path, "patterns": patterns}}))
