"""The command `embeddings init`; `test_installed.py` runs what it makes."""

from pathlib import Path

import yaml

from assets.work.configured import RESOURCES
from pipelines.cli.init import TEMPLATE
from pipelines.framework.run_config import CONFIGS, resource_values
from tests.pipelines.helpers import refuses, succeeds


def test_a_project_is_made(tmp_path: Path):
    made = tmp_path / "new" / "project"
    assert "embeddings run notes" in succeeds("init", str(made))
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    fragments = {path.relative_to(CONFIGS.parent).as_posix() for path in CONFIGS.glob("*/*.yaml")}
    assert files == fragments | {
        ".env.example",
        ".gitignore",
        "configs/notes.yaml",
        "data/notes.jsonl",
        "pipelines/notes.py",
        "workspace.yaml",
    }
    (location,) = yaml.safe_load((made / "workspace.yaml").read_text("utf-8"))["load_from"]
    assert location["python_module"]["module_name"] == "pipelines.notes"


def test_what_stands_as_a_remark_can_be_switched_on(tmp_path: Path):
    text = (TEMPLATE / "configs" / "notes.yaml").read_text("utf-8")
    on = tmp_path / "notes.yaml"
    on.write_text(text.replace("  # evaluation:", "  evaluation:").replace("  #  ", "   "), "utf-8")
    values = resource_values([on], RESOURCES)["evaluation"]
    assert values == {"queries": {"jsonl": {"path": "data/queries.jsonl"}}}


def test_nothing_is_overwritten(tmp_path: Path):
    theirs = tmp_path / "configs" / "mongodb" / "server.yaml"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine", "utf-8")
    assert refuses("init", str(tmp_path)).startswith(f"{theirs} is there already")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text("utf-8") == "mine"


def test_a_folder_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refuses("init", str(tmp_path / "file"))
