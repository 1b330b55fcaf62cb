"""Where the project is, and where there is none."""

from pathlib import Path

import pytest

from resources.core import paths
from resources.core.errors import ConfigurationError


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of no project, the working directory of a process that imports from elsewhere."""
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    monkeypatch.delenv("EMBEDDINGS_HOME", raising=False)
    monkeypatch.setattr(paths, "_IMPORTED_FROM", tmp_path / "bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


def project(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / paths.MARK).touch()
    return folder


def test_the_nearest_folder_upwards(outside: Path, monkeypatch: pytest.MonkeyPatch):
    outer = project(outside / "outer")
    inner = project(outer / "deep" / "inner")
    for folder, root in ((inner / "state" / "dagster", inner), (outer / "deep", outer)):
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(folder)
        assert paths.project_root() == root
        assert paths.state_home() == root / "state"
        assert paths.input_path("data/a.csv") == str(root / "data" / "a.csv")


def test_the_folder_imported_from_goes_before_the_working_directory(
    outside: Path, monkeypatch: pytest.MonkeyPatch
):
    """As in a code location of somebody else's workspace, by its `working_directory`."""
    ours, theirs = project(outside / "ours"), project(outside / "theirs")
    monkeypatch.chdir(theirs)
    assert paths.project_root() == theirs
    monkeypatch.setattr(paths, "_IMPORTED_FROM", ours)
    assert paths.project_root() == ours
    # upwards of it nothing is meant: a virtual environment lies in some project, not in its own
    monkeypatch.setattr(paths, "_IMPORTED_FROM", ours / "bin")
    assert paths.project_root() == theirs


def test_the_variable_goes_before_all(outside: Path, monkeypatch: pytest.MonkeyPatch):
    named = outside / "named"
    monkeypatch.setenv(paths.VARIABLE, str(named))
    with pytest.raises(ConfigurationError, match=f"names {named}, and there is no such folder"):
        paths.project_root()
    named.mkdir()
    monkeypatch.chdir(project(outside / "here"))
    assert paths.project_root() == named


def test_without_a_project(outside: Path, monkeypatch: pytest.MonkeyPatch):
    assert paths.find_project() is None
    for ask in (paths.project_root, paths.state_home, lambda: paths.input_path("a.csv")):
        with pytest.raises(ConfigurationError) as raised:
            ask()
        assert str(raised.value) == (
            f"there is no workspace.yaml in {outside} or above it, so this is no project: go to "
            "the folder of one, name it in EMBEDDINGS_PROJECT, or make one with `embeddings init "
            "FOLDER`"
        )
    # whole paths and URLs need none
    monkeypatch.setenv("EMBEDDINGS_HOME", str(outside / "home"))
    assert paths.state_path("mongodb") == str(outside / "home" / "mongodb")
    assert paths.state_path("s3://bucket/batches") == "s3://bucket/batches"
    assert paths.input_path(str(outside / "a.csv")) == str(outside / "a.csv")
    assert paths.input_path("~/a.csv") == str(Path.home() / "a.csv")
