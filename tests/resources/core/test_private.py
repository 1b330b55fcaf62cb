"""Folders that we make: nobody else of the machine gets into them, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.batch_store.files import Files
from resources.core.private import make_private, who_else
from resources.mongodb import embedded_files
from resources.search_index.local.files import FolderWriter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no modes")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_batch(folder: Path) -> None:
    Files(str(folder)).write("batches/space/a.parquet", b"text")


def write_index(folder: Path) -> None:
    FolderWriter(str(folder / "version"), "index.json").finish({})


def write_server(folder: Path) -> None:
    embedded_files.prepare(folder)
    embedded_files.write_password(folder, "secret")


@pytest.mark.parametrize("write", [write_batch, write_index, write_server])
def test_what_is_made_is_for_its_owner(open_place: Path, umask: int, write):
    write(open_place / "a" / "b")
    made = list((open_place / "a").rglob("*"))
    assert mode(open_place / "a") == 0o700
    assert [path for path in made if path.is_dir() and mode(path) & 0o077] == []
    assert [path for path in made if path.is_file()]


@pytest.mark.parametrize("given", [0o755, 0o775, 0o777, 0o750])
def test_in_a_folder_that_is_there_what_is_made_is_private(open_place: Path, given: int):
    (open_place / "given").mkdir()
    (open_place / "given").chmod(given)
    make_private(open_place / "given" / "batches" / "space")
    assert mode(open_place / "given") == given, "it is the user's"
    assert mode(open_place / "given" / "batches") == mode(open_place / "given/batches/space")
    assert mode(open_place / "given" / "batches") == 0o700


@pytest.mark.parametrize("given", [0o770, 0o2770, 0o2750])
def test_a_group_s_folder_stays_the_group_s(open_place: Path, given: int, umask: int):
    (open_place / "given").mkdir()
    (open_place / "given").chmod(given)
    make_private(open_place / "given" / "batches")
    assert mode(open_place / "given" / "batches") & 0o777 == given & 0o777 & ~umask


def test_the_project_s_state_of_an_earlier_version_is_closed(
    open_place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMBEDDINGS_PROJECT", str(open_place))
    monkeypatch.delenv("EMBEDDINGS_HOME", raising=False)
    for folder in ("state", "state/batch_store"):
        (open_place / folder).mkdir()
        (open_place / folder).chmod(0o755)
    make_private(open_place / "state" / "batch_store" / "batches")
    assert mode(open_place / "state") == 0o700
    assert who_else(open_place / "state" / "batch_store") == ""
    assert mode(open_place) == 0o755


def test_a_state_that_leads_elsewhere_stays_as_it_is(
    open_place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMBEDDINGS_PROJECT", str(open_place))
    (open_place / "elsewhere").mkdir(mode=0o755)
    (open_place / "state").symlink_to("elsewhere")
    make_private(open_place / "state" / "batch_store")
    assert mode(open_place / "elsewhere") == 0o755
    assert mode(open_place / "elsewhere" / "batch_store") == 0o700


def test_a_state_whose_modes_cannot_be_changed_costs_nothing(
    open_place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMBEDDINGS_PROJECT", str(open_place))
    monkeypatch.delenv("EMBEDDINGS_HOME", raising=False)
    (open_place / "state").mkdir()
    (open_place / "state").chmod(0o755)

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    make_private(open_place / "state" / "batch_store")
    assert mode(open_place / "state" / "batch_store") == 0o700


def test_who_else_gets_in(open_place: Path):
    inner = open_place / "outer" / "inner"
    inner.mkdir(parents=True)
    for outer, own, told in [
        (0o755, 0o755, "everybody"),
        (0o755, 0o751, "everybody"),
        (0o755, 0o750, "group"),
        (0o755, 0o700, ""),
        (0o700, 0o777, ""),
        (0o750, 0o777, "group"),
    ]:
        (open_place / "outer").chmod(outer)
        inner.chmod(own)
        assert who_else(inner) == told, (oct(outer), oct(own))


def test_a_file_in_its_place_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as refused:
        make_private(tmp_path / "file")
    assert refused.value.filename == str(tmp_path / "file")
