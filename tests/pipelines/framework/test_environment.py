"""`.env` says the same to every command: to `embeddings`, to `make dev` and to `dagster dev`."""

import logging
import os
from pathlib import Path

import pytest
from dagster._cli import utils

from pipelines.framework import dev
from pipelines.framework.environment import load_environment
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT

LINES = r"""
# what make, which read it before, took for something else
PLAIN=plain
QUOTED="in quotes" # and a comment
SINGLE='as $HOME is'
HASH=pass#word
DOLLAR=mongodb://user:pa$$w$1rd@host/?a=b
export EXPORTED=yes
FROM=${PLAIN}/more
LINES="a\nb"
EMPTY=
NAME_ALONE
SET_ALREADY=by the file
"""

FOUND = {
    "PLAIN": "plain",
    "QUOTED": "in quotes",
    "SINGLE": "as $HOME is",
    "HASH": "pass#word",
    "DOLLAR": "mongodb://user:pa$$w$1rd@host/?a=b",
    "EXPORTED": "yes",
    "FROM": "plain/more",
    "LINES": "a\nb",
    "EMPTY": "",
    "NAME_ALONE": None,
    "SET_ALREADY": "by the file",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FOUND:
        monkeypatch.setenv(name, "")  # so that what is set is undone too
        monkeypatch.delenv(name)
    monkeypatch.setenv("SET_ALREADY", "outside")
    (tmp_path / ".env").write_text(LINES, "utf-8")
    (tmp_path / "workspace.yaml").touch()
    return tmp_path


def test_a_command_reads_it_as_dagster_dev_does(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    # What each of Dagster's own commands does first; there is no other way to see it than to ask.
    with utils._inject_local_env_file(logging.getLogger()):
        theirs = {name: os.environ.get(name) for name in FOUND}
    assert os.environ["SET_ALREADY"] == "outside"
    load_environment(project)
    assert {name: os.environ.get(name) for name in FOUND} == theirs == FOUND


def test_so_does_make_dev(project: Path, monkeypatch: pytest.MonkeyPatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command))
    monkeypatch.setattr("sys.argv", ["dev", "-p", "3000"])
    monkeypatch.setenv("EMBEDDINGS_PROJECT", str(project))
    monkeypatch.setenv("DAGSTER_HOME", "/nowhere")  # which the file replaces
    monkeypatch.chdir(project)
    with (project / ".env").open("a", encoding="utf-8") as file:
        file.write(f"DAGSTER_HOME={project / 'home'}\n")
    dev.main()
    assert {name: os.environ.get(name) for name in FOUND} == FOUND
    assert (project / "home" / "dagster.yaml").is_file()
    ((_, *command),) = started
    where = str(project / "workspace.yaml")
    assert command == ["-m", "dagster", "dev", "-w", where, "-p", "3000"]


def test_make_itself_does_not_read_it():
    assert "include" not in (CODE_ROOT / "Makefile").read_text("utf-8")


def test_without_one_nothing_is_set(tmp_path: Path):
    before = dict(os.environ)
    load_environment(tmp_path)
    assert dict(os.environ) == before


def test_one_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / ".env").write_bytes(b"KEY=\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read \(it is not UTF-8\)"):
        load_environment(tmp_path)
