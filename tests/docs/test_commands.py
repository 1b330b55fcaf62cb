"""Every command of README and docs/ works as it stands there."""

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
import typer
from typer.core import TyperGroup

from resources.core.paths import CODE_ROOT
from resources.mongodb import embedded
from tests import servers
from tests.docs.commands import Command, arguments, command
from tests.docs.lines import NOT_RUN, Line, lines
from tests.docs.markdown import documents
from tests.pipelines.helpers import KEYS

DOCUMENTS = [document for document in documents() if not document.generated]
LINES = [line for document in DOCUMENTS for line in lines(document)]
COPIED = ("configs", "examples", "docs", "workspace.yaml", "pipelines/quickstart.py")
ARTICLES = [
    {"title": "Tolls", "body": "The bridge is paid for by its users.", "published": True,
     "section": "city", "year": 2024},
    {"title": "A draft", "body": "Nothing yet.", "published": False, "section": "city",
     "year": 2025},
]  # fmt: skip


def test_there_are_commands():
    assert len(LINES) > 40


@pytest.mark.parametrize("says", NOT_RUN)
def test_what_is_not_run_is_there(says: str):
    assert any(re.match(says, line.text) for line in LINES), "no document says it any more"


def test_programs_are_known():
    """Targets of the Makefile, and modules."""
    makefile = (CODE_ROOT / "Makefile").read_text("utf-8")
    for line in LINES:
        words = shlex.split(line.text)
        if words[0] == "make":
            assert f"\n{words[1]}:" in makefile, line
        elif words[:2] == ["python", "-m"] and words[2].startswith(("benchmarks", "tests")):
            assert importlib.util.find_spec(words[2]), line


def test_commands_are_spelt_as_the_command_line_has_them():
    for line in LINES:
        words = shlex.split(line.text)
        if words[0] == "embeddings":
            words = words[: words.index("&&")] if "&&" in words else words
            _check_words(words[1:], line)


def _check_words(words: list[str], line: Line) -> None:
    """The command is there, and has the options that are named."""
    at: Command = command()
    context = typer.Context(at, info_name="embeddings")
    while isinstance(at, TyperGroup) and words and not words[0].startswith("-"):
        found = at.get_command(context, words[0])
        assert isinstance(found, Command), f"{line.place}: no {words[0]!r}: {line.text}"
        # `embeddings queries PIPELINE list`: a group may have arguments of its own.
        own = len(list(arguments(found, context))) if isinstance(found, TyperGroup) else 0
        at, words = found, words[1 + own :]
    options = {name for each in at.get_params(context) for name in each.opts}
    named = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert named <= options, f"{line.place}: {named - options}: {line.text}"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """The checkout, as far as the documents' commands look at it, with the files that they show."""
    root = tmp_path / "checkout"
    for name in COPIED:
        source, target = CODE_ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    for document in DOCUMENTS:
        for block in document.blocks("yaml", "python", "csv"):
            if block.file and block.file != "workspace.yaml":
                target = root / block.file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.content, "utf-8")
    for name in ("handbook", "articles"):  # as README says in words
        module = (root / "pipelines" / "products.py").read_text("utf-8").replace("products", name)
        if name == "articles":
            module = module.replace("mongodb/embedded.yaml", "mongodb/server.yaml")
        (root / "pipelines" / f"{name}.py").write_text(module, "utf-8")
    lines = (
        f"  - python_module: {{module_name: pipelines.{name}, location_name: {name}, "
        "working_directory: .}\n"
        for name in ("products", "handbook", "articles")
    )
    with (root / "workspace.yaml").open("a", encoding="utf-8") as workspace:
        workspace.writelines(lines)
    yield root
    for state in root.glob("**/state/mongodb"):
        embedded.stop(state)


@pytest.mark.proof
@pytest.mark.skipif(servers.secantus() is None, reason="no embedded server: SecantusDB")
def test_every_command_works(project: Path, mongod_uri: str, tmp_path: Path):
    with pymongo.MongoClient(mongod_uri) as client:
        client["cms"]["articles"].insert_many(dict(article) for article in ARTICLES)
    try:
        failed = [
            f"{answer['line']}: exit status {answer['status']}\n{answer['output'][-2_000:]}"
            for answer in _run(_to_run(project), project, mongod_uri, tmp_path)
            if answer["status"] not in _allowed(answer["line"])
        ]
    finally:
        with pymongo.MongoClient(mongod_uri) as client:
            for name in ("cms", "embeddings"):
                client.drop_database(name)
    assert not failed, "\n\n".join(failed)


def _allowed(text: str) -> set[int]:
    """Exit statuses: 1 of `status` says that a pipeline is not well, as one that never ran."""
    return {0, 1} if text.startswith("embeddings status") else {0}


def _to_run(project: Path) -> list[str]:
    """Each once, document by document; `cd` leads as far as its block."""
    texts: list[str] = []
    for _, block in itertools.groupby(LINES, key=lambda line: line.place):
        runs = [line.text for line in block if _is_run(line) and line.text not in texts]
        texts += runs
        if any("cd " in text for text in runs):
            texts.append(f"cd {shlex.quote(str(project))}")
    return texts


def _is_run(line: Line) -> bool:
    return not line.not_run and not line.is_form and _is_whole(line)


def _is_whole(line: Line) -> bool:
    """Whether it can be run: what stands in the text may be no more than a command's name."""
    words = shlex.split(line.text)
    return words[0] != "embeddings" or len(words) > 2 or words[1] in ("list", "models", "stop")


def _run(texts: list[str], project: Path, uri: str, folder: Path) -> list[dict]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in KEYS and not name.startswith(("EMBEDDINGS_", "DAGSTER_"))
    }
    environment = inherited | {
        "PYTHONPATH": str(CODE_ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "MONGODB_URI": uri,
    }
    script = shutil.copyfile(Path(__file__).with_name("session.py"), folder / "session.py")
    (folder / "lines.json").write_text(json.dumps(texts), "utf-8")
    answers = folder / "answers.jsonl"  # of a session that is cut off, as far as it came
    with answers.open("w") as output:
        done = subprocess.run(
            [sys.executable, str(script), str(folder / "lines.json")],
            cwd=project,
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4_000:]
    return [json.loads(line) for line in answers.read_text("utf-8").splitlines()]
