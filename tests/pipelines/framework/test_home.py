"""A DAGSTER_HOME that cannot be used: one sentence, whose way out works."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from pipelines.framework.home_errors import using
from pipelines.framework.instance import check_home, project_instance
from resources.core.errors import ConfigurationError


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A home as the first run leaves it: to make one takes a second."""
    home = tmp_path_factory.mktemp("made") / "dagster"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with project_instance():
            pass
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch) -> Path:
    copy = tmp_path / "dagster"
    shutil.copytree(made, copy)
    monkeypatch.setenv("DAGSTER_HOME", str(copy))
    return copy


def a_file(home: Path) -> None:
    shutil.rmtree(home)
    home.write_text("a file", "utf-8")


def no_yaml(home: Path) -> None:
    (home / "dagster.yaml").write_text("telemetry:\n  [", "utf-8")


def no_database(home: Path) -> None:
    for file in (home / "history").rglob("*.db"):
        file.write_text("this is not a database " * 100, "utf-8")


def move_away(home: Path) -> None:
    shutil.move(home, home.with_name("moved"))


@pytest.mark.parametrize(
    ("damage", "words", "way_out"),
    [
        (a_file, "Not a directory): set DAGSTER_HOME to a folder", Path.unlink),
        (no_yaml, "dagster.yaml, line 2 is not YAML: correct it, or delete", None),
        (no_database, "file is not a database): move it away", move_away),
    ],
)
def test_what_is_wrong_and_the_way_out(
    home: Path, damage: Callable[[Path], None], words: str, way_out: Callable[[Path], None] | None
):
    damage(home)
    for look in (opened, check_home):
        with pytest.raises(ConfigurationError) as raised:
            look(home)
        assert words in str(raised.value)
        assert str(home) in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1
    if way_out is None:
        (home / "dagster.yaml").unlink()
    else:
        way_out(home)
    check_home(home)
    if damage is not a_file:  # a home of its own takes seconds to make
        opened(home)


def opened(home: Path) -> None:
    with project_instance() as instance:
        instance.get_run_records(limit=1)


def test_one_that_another_process_holds(home: Path):
    file = home / "history" / "runs.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{file}", connect_args={"timeout": 0.05})
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigurationError, match=r"is locked\): another process"):
            clear(engine, home)


def clear(engine: sqlalchemy.Engine, home: Path) -> None:
    with using(home), engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM runs"))


def test_what_fails_beside_it_is_not_its_fault(tmp_path: Path):
    with pytest.raises(FileNotFoundError), using(tmp_path / "home"):
        (tmp_path / "elsewhere").read_text("utf-8")
    with pytest.raises(ConfigurationError, match="set DAGSTER_HOME to a folder"), using(tmp_path):
        raise OSError(28, "No space left on device", str(tmp_path / "storage" / "logs"))
