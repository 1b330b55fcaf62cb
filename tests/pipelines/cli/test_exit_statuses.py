"""0 done, 1 wrong, 2 usage, 130 interrupted: a real signal, a real pipe, a real process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from pipelines.cli.app import app
from pipelines.cli.streams import Reader
from tests.pipelines.helpers import MOTH, SHOP, Place, embeddings, environment
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
    place: Place, first_run: str, openai_api: ProviderServer, number: signal.Signals
):
    provider = {"base_url": openai_api.url, "dimensions": 64, "api_key": "sekret"}
    waiting = place.config(
        "waiting",
        embedder={"provider": {"openai": provider}},
        vector_store={"collection": number.name},
    )
    openai_api.behaviour.fail_next("hang")
    threading.Thread(target=_once, args=(lambda: openai_api.requests, number)).start()
    result = embeddings("run", SHOP, "-c", waiting)
    assert result.exit_code == 130, result.output
    assert result.stderr.strip().endswith("interrupted")
    assert "Traceback" not in result.output
    with dg.DagsterInstance.from_config(str(place.folder / "state" / "dagster")) as instance:
        (last,) = instance.get_runs(limit=1)
    assert last.status is dg.DagsterRunStatus.FAILURE


def _once(happened: Callable[[], object], number: signal.Signals) -> None:
    while not happened():
        time.sleep(0.01)
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
    assert (process.returncode, said.strip()) == (130, b"interrupted")


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["--help"]])
def test_who_reads_only_the_beginning_is_no_error(tmp_path: Path, arguments: list[str]):
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -0` does
    process = started(*arguments, home=tmp_path, stdout=writing)
    os.close(writing)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")


def test_what_nobody_reads_is_lost_and_nothing_else():
    reading, writing = os.pipe()
    with Reader(writing, "w") as reader:
        assert reader.write(b"read") == 4
        assert os.read(reading, 9) == b"read"
        os.close(reading)
        assert not reader.gone
        assert [reader.write(b"lost") for _ in range(2)] == [4, 4]
        assert reader.gone
