"""`embeddings serve` as its user sees it: a process, a line, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.serving import server
from tests.pipelines.helpers import environment, write_config

pytestmark = pytest.mark.slow

TOKEN = "correct horse battery staple"
EMBEDDINGS = "from pipelines.cli.start import main; main()"

MODULE = """\
from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(name="{name}", configs=["{name}.yaml"])
defs = pipeline.definitions()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a pipeline that could run, and one whose module does not even parse."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "workspace.yaml").write_text("load_from: []\n", "utf-8")
    (folder / "pipelines").mkdir()
    (folder / "configs").mkdir()
    (folder / "pipelines" / "songs.py").write_text(MODULE.format(name="songs"), "utf-8")
    (folder / "pipelines" / "torn.py").write_text("pipeline = (", "utf-8")
    write_config(
        folder / "configs" / "songs.yaml",
        source={"origin": {"texts": {"documents": [{"id": 1, "text": "a"}]}}},
    )
    write_config(folder / "wrong.yaml", search_index={"colour": "red"})
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", EMBEDDINGS, "serve", *arguments]


@contextmanager
def started(project: Path, *arguments: str, **variables: str) -> Iterator[tuple[Any, str]]:
    """The process, and the address that it prints."""
    env = environment(project / "home", **variables)
    if not variables:
        env.pop(server.TOKEN, None)
    process = subprocess.Popen(
        command(*arguments), cwd=project, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("serving on http://"), line or process.communicate()[1]
        yield process, line.removeprefix("serving on ").strip()
    finally:
        process.kill()
        process.communicate()


def get(url: str, **headers: str) -> Any:
    # Not through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=120) as answer:
        return json.load(answer)


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_it_prints_its_address_and_ends_with_ctrl_c(project: Path):
    with started(project, "--port", "0") as (process, url):
        listed = {each["name"]: each["fault"] for each in get(f"{url}/pipelines")["pipelines"]}
        assert listed["songs"] == ""
        assert "SyntaxError" in listed["torn"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_overrides_that_do_not_fit_are_a_pipelines_fault(project: Path):
    with started(project, "--port", "0", "-c", str(project / "wrong.yaml")) as (_, url):
        listed = {each["name"]: each["fault"] for each in get(f"{url}/pipelines")["pipelines"]}
        assert "colour" in listed["songs"]


def test_a_taken_port_is_one_sentence_and_the_usual_one_gives_way(project: Path):
    with started(project, "--port", "0") as (_, url):
        port = url.rsplit(":", 1)[1]
        result = refused(project, "--port", port)
        assert f"cannot listen on 127.0.0.1:{port}" in result
        assert "--port" in result


def test_another_address_needs_the_token(project: Path):
    assert server.TOKEN in refused(project, "--host", "0.0.0.0", "--port", "0")
    arguments = ("--host", "0.0.0.0", "--port", "0", "--allow-host", "search.example")
    with started(project, *arguments, **{server.TOKEN: TOKEN}) as (_, url):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{url}/pipelines")
        headers = {"Authorization": f"Bearer {TOKEN}", "Host": "search.example"}
        assert get(f"{url}/pipelines", **headers)["pipelines"]


def test_an_address_of_dagster_that_is_none_is_refused(project: Path):
    assert "Dagster's UI" in refused(project, "--dagster-url", "javascript:alert(1)")


def refused(project: Path, *arguments: str) -> str:
    env = environment(project / "home")
    env.pop(server.TOKEN, None)
    done = subprocess.run(
        command(*arguments), cwd=project, env=env, text=True, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line
