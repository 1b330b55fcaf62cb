"""What programs get of each command: an exit status, and with `--json` one document.

0 done, 1 wrong, 2 usage, 130 interrupted: by real signals and pipes.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer.main

from pipelines.cli.app import app
from pipelines.cli.streams import Reader
from tests.pipelines.helpers import (
    MOTH,
    SHOP,
    Place,
    embeddings,
    environment,
    succeeds,
    write_jsonl,
)
from tests.providers.server import ProviderServer

EMBEDDINGS = "from pipelines.cli.start import main; main()"


def started(*arguments: str, home: Path, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", EMBEDDINGS, *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(home, PYTHONPATH=os.pathsep.join([str(home), os.getcwd()])),
    )


def test_they_are_listed_where_help_is():
    shown = " ".join(embeddings("--help").output.split())
    for line in ("0 done", "1 something is wrong", "2 it was called", "130 interrupted"):
        assert line in shown
    assert app.info.epilog


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_130_and_written_down(
    place: Place,
    first_run: str,
    openai_api: ProviderServer,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    provider = {"base_url": openai_api.url, "dimensions": 64}
    waiting = place.config(
        "waiting",
        embedder={"provider": {"openai": provider}},
        vector_store={"collection": number.name},
    )
    openai_api.behaviour.fail_next("hang")
    over = threading.Event()
    arguments = (lambda: openai_api.requests, number, over)
    threading.Thread(target=_once, args=arguments).start()
    try:
        result = embeddings("run", SHOP, "-c", waiting)
    finally:
        over.set()
    assert result.exit_code == 130, result.output
    assert result.stderr.strip().endswith("interrupted")
    assert "Traceback" not in result.output
    with dg.DagsterInstance.from_config(str(place.folder / "state" / "dagster")) as instance:
        (last,) = instance.get_runs(limit=1)
    assert last.status is dg.DagsterRunStatus.FAILURE


def _once(happened: Callable[[], object], number: signal.Signals, over: threading.Event) -> None:
    while not happened():
        if over.wait(0.01):
            return
    os.kill(os.getpid(), number)


def test_so_is_a_search_that_waits_for_questions(place: Place, first_run: str):
    process = started("search", SHOP, "-", "--json", home=place.folder)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(MOTH.encode() + b"\n")
    process.stdin.flush()
    assert b'"moth"' in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, b"interrupted")


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["--help"]])
def test_who_reads_only_the_beginning_is_no_error(tmp_path: Path, arguments: list[str]):
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -0` does
    process = started(*arguments, home=tmp_path, stdout=writing)
    os.close(writing)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_what_cannot_be_written_is_told(tmp_path: Path):
    with open("/dev/full", "wb") as full:
        process = started("models", "--json", home=tmp_path, stdout=full.fileno())
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith(b"error: standard output cannot be written (No space left on device)")


def test_what_nobody_reads_is_lost_and_nothing_else():
    reading, writing = os.pipe()
    with Reader(writing, "w") as reader:
        assert reader.write(b"read") == 4
        assert os.read(reading, 9) == b"read"
        os.close(reading)
        assert not reader.gone
        assert [reader.write(b"lost") for _ in range(2)] == [4, 4]
        assert reader.gone


# --- JSON

WITHOUT = {
    "serve": "it answers until it is stopped",
    "demo": "it shows what there is to see, for `make demo`",
}


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield " ".join([*path, name]), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_it(name: str):
    options = [option for each in COMMANDS[name].params for option in each.opts]
    assert ("--json" in options) != (name in WITHOUT)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("run", [SHOP]),
        ("plan", [SHOP]),
        ("spend", [SHOP]),
        ("lineage", [SHOP]),
        ("lineage", [SHOP, "--by", "run"]),
        ("lineage", [SHOP, "--filter", "{}"]),
        ("lineage", [SHOP, "--model", "static"]),
        ("audit", [SHOP]),
        ("audit", [SHOP, "--repair"]),
        ("doctor", [SHOP]),
        ("list", []),
        ("models", []),
        ("models", ["--for", SHOP]),
        ("estimate", ["--documents", "1e6", "--tokens", "300", "--model", "voyage-4"]),
        ("search", [SHOP, MOTH]),
        ("evaluate", [SHOP, "--queries", "queries.jsonl"]),
        ("quarantine list", [SHOP]),
        ("quarantine retry", [SHOP, "--all"]),
        ("quarantine drop", [SHOP, "--all"]),
        ("status", [SHOP]),
        ("history", [SHOP]),
        ("spaces", [SHOP, "--history"]),
        ("maintain", [SHOP, "--dry-run"]),
        ("init", ["made"]),
        ("stop", [SHOP]),
        ("queries", [SHOP, "list", "-c", "{generated}"]),
        ("queries", [SHOP, "export", "made.jsonl", "-c", "{generated}"]),
        ("queries", [SHOP, "import", "{judged}", "--replace"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_prints_is_one_document(
    place: Place, first_run: str, name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(place.folder)
    judged = {"id": "q", "query": "a lamp at night", "relevant": ["moth"]}
    write_jsonl(place.folder / "queries.jsonl", [judged])
    made = {
        "{generated}": place.config("generated", evaluation={"queries": {"generated": {}}}),
        "{judged}": str(write_jsonl(place.folder / "j.jsonl", [{"query": "a", "relevant": []}])),
    }
    given = [made.get(each, each) for each in arguments]
    json.loads(succeeds(*name.split(), *given, "--json"))


def test_a_run_says_what_it_did_and_what_it_does_elsewhere(place: Place, first_run: str):
    result = embeddings("run", SHOP, "--json")
    found = json.loads(result.stdout)
    assert SHOP in result.stderr
    assert found["pipeline"] == SHOP
    assert found["source_documents"]["documents"] == 6
    assert found["search_index"]["indexed"] == found["search_index"]["stored"] == 6
    assert found["failed_checks"] == []


@pytest.mark.parametrize("arguments", [["run", "nobody"], ["index", "list", SHOP]])
def test_an_error_leaves_standard_output_empty(place: Place, first_run: str, arguments: list[str]):
    result = embeddings(*arguments, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("error: ")
