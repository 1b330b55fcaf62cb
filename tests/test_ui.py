"""The project as its user sees it: `dagster dev` and a browser, from the first click on."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pytest

from assets import about, run_tags
from pipelines.framework.instance import SETTINGS
from resources.core.paths import CODE_ROOT
from resources.mongodb import embedded
from tests import servers

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
PATIENCE = 300_000  # milliseconds; how long the UI may take on a busy machine
EVERYWHERE = [*about.ASSETS, about.CANDIDATE]
ASSETS = [*EVERYWHERE, about.QUALITY]
"""Of the quickstart, whose searches are measured."""

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(
        not importlib.util.find_spec("playwright"), reason="no playwright: pip install '.[test]'"
    ),
    pytest.mark.skipif(
        servers.secantus() is None, reason="no embedded server: pip install '.[embedded]'"
    ),
    pytest.mark.skipif(os.name != "posix", reason="dagster dev is stopped by its process group"),
]

T = TypeVar("T")

LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } }
} } } }"""

RUNS = """{ runsOrError { ... on Runs { results {
    runId status assetSelection { path } tags { key value }
    eventConnection { events {
        ... on MessageEvent { message } ... on ErrorEvent { error { message } }
    } }
} } } }"""

CHECKS = """{ assetNodes(group: {
    groupName: "quickstart", repositoryName: "__repository__", repositoryLocationName: "quickstart"
}) {
    assetKey { path }
    assetChecksOrError { ... on AssetChecks { checks {
        name executionForLatestMaterialization { status evaluation { description } }
    } } }
} }"""


@dataclass
class Dagster:
    """A `dagster dev` that answers."""

    process: subprocess.Popen
    url: str
    log: Path

    def query(self, query: str) -> dict[str, Any]:
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"content-type": "application/json"}
        )
        # 127.0.0.1 is not to be asked for through a proxy that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=200) as answer:
            content = json.load(answer)
        assert "errors" not in content, content["errors"]
        return content["data"]

    def locations(self) -> list[dict[str, Any]]:
        """The code locations, once all are loaded; none before."""
        try:
            workspace = self.query(LOCATIONS)["workspaceOrError"]
        except OSError:  # not listening yet
            return []
        entries = workspace.get("locationEntries", [])
        return entries if all(entry["loadStatus"] == "LOADED" for entry in entries) else []

    def runs(self) -> list[dict[str, Any]]:
        return self.query(RUNS)["runsOrError"]["results"]

    def wait_for(self, what: str, look: Callable[[], T], seconds: float) -> T:
        """The first truthy answer of `look`."""
        until = time.monotonic() + seconds
        while not (found := look()):
            alive = self.process.poll() is None
            if not alive or time.monotonic() > until:
                tail = self.log.read_text("utf-8", "replace")[-4_000:]
                pytest.fail(f"{what}: {'too late' if alive else 'dagster dev ended'}\n{tail}")
            time.sleep(0.2)
        return found


@pytest.fixture
def dagster(tmp_path: Path) -> Iterator[Dagster]:
    """`dagster dev` on a fresh instance and a fresh state, without keys of any provider."""
    instance, state = tmp_path / "dagster", tmp_path / "state"
    instance.mkdir()
    state.mkdir()
    shutil.copyfile(SETTINGS, instance / "dagster.yaml")
    secrets = {"VOYAGE_API_KEY", "OPENAI_API_KEY", "MONGODB_URI"}
    environment = {name: value for name, value in os.environ.items() if name not in secrets}
    environment |= {"DAGSTER_HOME": str(instance), "EMBEDDINGS_HOME": str(state)}
    port = servers.free_port()
    log = tmp_path / "dagster-dev.log"
    command = [str(Path(sys.executable).parent / "dagster"), "dev", "-w", "workspace.yaml"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=CODE_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
    try:
        yield Dagster(process, f"http://127.0.0.1:{port}", log)
    finally:
        _end(process)
        embedded.stop(state / "mongodb")


def _end(process: subprocess.Popen) -> None:
    """End `dagster dev` and all it started: webserver, daemon, code servers and runs."""
    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    # Its own way of stopping, which also ends what it started; where it does not come to it, no
    # test is about that.
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=3)
    # Whatever is left: of the process group, and of those that made a group of their own. The
    # embedded server is among them; it is stopped in its own way.
    left = [member for member in family if not _is_embedded_server(member)]
    _, left = psutil.wait_procs(left, timeout=2)
    for member in left:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def _is_embedded_server(process: psutil.Process) -> bool:
    try:
        return any("secantusd" in argument for argument in process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture
def page() -> Iterator["Page"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(viewport={"width": 1800, "height": 900}).new_page()
        page.set_default_timeout(PATIENCE)
        # Dagster's own greeting covers the page at some point of the first visit.
        page.add_locator_handler(
            page.get_by_text("Join the Dagster community"),
            lambda: page.get_by_role("button", name="Skip").click(),
        )
        yield page
        browser.close()


def test_a_first_visit_materializes_the_quickstart_without_configuration(
    dagster: Dagster, page: "Page"
):
    entries = dagster.wait_for("locations loaded", dagster.locations, 400)
    assert {entry["name"]: entry["locationOrLoadError"] for entry in entries} == {
        "quickstart": {"__typename": "RepositoryLocation"},
        "airbnb": {"__typename": "RepositoryLocation"},
    }

    _open_graph(dagster, page, "quickstart", ASSETS)
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Launched run").wait_for()
    # Beside it one without its keys, which is launched like any other.
    _launch_airbnb(dagster, page.context.new_page())

    runs = dagster.wait_for("runs finished", lambda: _finished(dagster), 400)
    (run,) = [each for each in runs if each["assetSelection"][0]["path"][0] == "quickstart"]
    (failed,) = [each for each in runs if each is not run]
    assert run["status"] == "SUCCESS", _messages(run)
    assert {tuple(key["path"]) for key in run["assetSelection"]} == {
        ("quickstart", asset) for asset in ASSETS
    }
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert (tags[run_tags.REASON], tags[run_tags.EMBEDDED]) == ("Dagster UI", "180")
    _the_run_page_shows_success(dagster, page, run["runId"])
    _the_graph_shows_all_as_materialized(dagster, page)
    _the_run_page_names_the_missing_variables(dagster, page, failed)
    _every_check_has_passed(dagster)
    _the_asset_pages_show_their_metadata(dagster, page)


def _open_graph(dagster: Dagster, page: "Page", location: str, assets: Sequence[str]) -> None:
    page.goto(f"{dagster.url}/locations/{location}/asset-groups/{location}/lineage")
    for asset in assets:
        _node(page, asset).wait_for()
    source = 1
    assert page.locator("svg foreignObject").count() == len(assets) + source


def _node(page: "Page", asset: str):
    """The box of an asset in the graph."""
    return page.locator("svg foreignObject").filter(has_text=asset)


def _finished(dagster: Dagster) -> list[dict[str, Any]]:
    runs = dagster.runs()
    done = all(run["status"] in {"SUCCESS", "FAILURE", "CANCELED"} for run in runs)
    return runs if done else []


def _messages(run: dict[str, Any]) -> str:
    events = run["eventConnection"]["events"]
    errors = [event["error"]["message"] for event in events if event.get("error")]
    return "\n".join([*(event["message"] for event in events if "message" in event), *errors])


def _launch_airbnb(dagster: Dagster, page: "Page") -> None:
    page.set_default_timeout(PATIENCE)
    _open_graph(dagster, page, "airbnb", EVERYWHERE)
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Launched run").wait_for()
    page.close()


def _the_run_page_names_the_missing_variables(
    dagster: Dagster, page: "Page", run: dict[str, Any]
) -> None:
    sentence = "needs VOYAGE_API_KEY for its embedder and MONGODB_URI for its mongodb"
    assert run["status"] == "FAILURE"
    assert sentence in _messages(run)
    page.goto(f"{dagster.url}/runs/{run['runId']}")
    page.get_by_text(sentence).first.wait_for()


def _the_run_page_shows_success(dagster: Dagster, page: "Page", run: str) -> None:
    page.goto(f"{dagster.url}/runs/{run}")
    page.get_by_text("Success", exact=True).first.wait_for()


def _the_graph_shows_all_as_materialized(dagster: Dagster, page: "Page") -> None:
    _open_graph(dagster, page, "quickstart", ASSETS)
    for asset in ASSETS:
        node = _node(page, asset)
        node.get_by_text("Materialized", exact=True).wait_for()
        node.get_by_text(re.compile(r"^\s*([1-9]) / \1 Passed")).wait_for()


def _every_check_has_passed(dagster: Dagster) -> None:
    found = {}
    for node in dagster.query(CHECKS)["assetNodes"]:
        for check in node["assetChecksOrError"]["checks"]:
            execution = check["executionForLatestMaterialization"]
            found[f"{node['assetKey']['path'][-1]}: {check['name']}"] = execution["status"]
    assert found
    assert set(found.values()) == {"SUCCEEDED"}, found
    assert {name.split(":")[0] for name in found} == set(ASSETS)


def _the_asset_pages_show_their_metadata(dagster: Dagster, page: "Page") -> None:
    page.goto(f"{dagster.url}/assets/quickstart/embedding_batches")
    assert _row(page, "model") == "sentence-transformers/all-MiniLM-L6-v2"
    assert _row(page, "embedded") == "180"
    assert _row(page, "dimensions") == "384"
    _preview(page, "preview", ["id", "text", "vector"], "film-titanic")

    page.goto(f"{dagster.url}/assets/quickstart/stored_vectors")
    assert _row(page, "vectors written") == "180"
    assert _row(page, "vectors stored") == "180"
    _preview(page, "vectors by space", ["model", "vectors"], "sentence-transformers/")
    page.get_by_text("quickstart.documents", exact=True).first.wait_for()
    page.get_by_text("who made the vector").first.wait_for()

    page.goto(f"{dagster.url}/assets/quickstart/candidate_space")
    assert _row(page, "candidate").startswith("none: ")

    page.goto(f"{dagster.url}/assets/quickstart/search_quality")
    assert float(_row(page, "ndcg@10")) > 0.7
    assert _row(page, "queries") == "100"
    _preview(page, "by segment", ["segment", "ndcg@10"], "howto")


def _metadata(page: "Page", key: str):
    """The cell with the value of a metadata key, on an asset's page."""
    label = page.get_by_role("cell", name=key, exact=True)
    return page.get_by_role("row").filter(has=label).get_by_role("cell").last


def _row(page: "Page", key: str) -> str:
    cell = _metadata(page, key)
    cell.wait_for()
    return cell.inner_text().strip()


def _preview(page: "Page", key: str, headings: list[str], content: str) -> None:
    """A table is shown at once; Markdown of a thousand characters only after a click."""
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True)).first
    table = row.get_by_role("table")
    table.wait_for()
    assert set(headings) <= {text.strip() for text in table.locator("th").all_inner_texts()}
    table.get_by_text(content).first.wait_for()
