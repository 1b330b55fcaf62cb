"""What stands in documents, and in names, does nothing in the Dagster UI: a real browser looks."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pymongo
import pytest

from pipelines.framework.execution import run
from pipelines.framework.instance import project_instance
from resources.core.paths import CODE_ROOT
from tests import servers, test_ui
from tests.pipelines.helpers import environment, script, write_config, write_pipeline
from tests.test_ui import Dagster, _end

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = test_ui.pytestmark
page = test_ui.page

CHECKS_ALONE = """
look = dg.define_asset_job("look", dg.AssetSelection.checks_for_assets(["texts", "stored_vectors"]))
defs = dg.Definitions.merge(defs, dg.Definitions(jobs=[look]))
"""

ASSETS = "{ assetNodes { assetKey { path } } }"


class Trap:
    """A server that nobody is to ask for anything."""

    def __init__(self) -> None:
        asked = self.asked = list[str]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def text(self, name: str) -> str:
        """Of the kind that fetches, links or runs something wherever it is read as more."""
        at = f"http://{self.host}/{name}"
        return (
            f'![]({at}.png) <img src="{at}.gif"> [click]({at}) [run](javascript:alert(1)) {at} '
            f"www.{name}.example.com {name}@example.com | cell | # head"
        )


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def dagster(
    tmp_path: Path, trap: Trap, mongod_uri: str, static_model: str, monkeypatch
) -> Iterator[Dagster]:
    """The webserver, after a run over texts and names of that kind, one check of which failed."""
    database = "test_ui_texts"
    source, vectors = (f"{name} ![](http://{trap.host}/{name}.png)" for name in ("films", "store"))
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri)
    client.drop_database(database)
    client[database][source].insert_many(
        [{"_id": trap.text("id"), "text": trap.text("text"), "kind": trap.text("field")},
         *({"_id": n, "text": f"text {n}"} for n in range(9)),
         *({"_id": f"{n} {trap.text('refused')}", "text": ""} for n in range(30))]
    )  # fmt: skip
    config = write_config(
        tmp_path / "texts.yaml",
        source={
            "origin": {"collection": {"database": database, "collection": source}},
            "carry": ["kind"],
        },
        embedder={"provider": {"sentence_transformers": {"model": static_model}}},
        mongodb={"deployment": {"server": {"uri": mongod_uri}}, "registry": database},
        vector_store={"database": database, "collection": vectors},
    )
    module = write_pipeline(tmp_path / "ui_pipelines", "texts", [config])
    variables = environment(tmp_path)
    for name in ("DAGSTER_HOME", "EMBEDDINGS_HOME"):
        monkeypatch.setenv(name, variables[name])
    monkeypatch.syspath_prepend(str(tmp_path))
    with module.open("a", encoding="utf-8") as file:
        file.write(CHECKS_ALONE)
    run("ui_pipelines.texts")
    # Somebody else's, in the place that the check `one_space` names.
    client[database][vectors].insert_one({"_id": "theirs", "embedding": [1.0]})
    look = sys.modules["ui_pipelines.texts"].defs.resolve_job_def("look")
    with project_instance() as instance:
        assert not look.execute_in_process(instance=instance, raise_on_error=False).success
    port = servers.free_port()
    log = tmp_path / "webserver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [script("dagster-webserver"), "-f", str(module), "-h", "127.0.0.1", "-p", str(port)],
            cwd=CODE_ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield Dagster(process, f"http://127.0.0.1:{port}", log)
    finally:
        _end(process)
        client.drop_database(database)
        client.close()
        for name in [name for name in sys.modules if name.startswith("ui_pipelines")]:
            del sys.modules[name]


def test_texts_of_documents_do_nothing(dagster: Dagster, page: "Page", trap: Trap):
    dagster.wait_for("locations loaded", dagster.locations, 200)
    keys = [node["assetKey"]["path"] for node in dagster.query(ASSETS)["assetNodes"]]
    assert len(keys) == 6
    shown = ""
    for key in keys:
        address = "/".join(quote(part, safe="") for part in key)
        shown += _look(page, f"{dagster.url}/assets/{address}", "Definition", trap)
    shown += _look(
        page,
        f"{dagster.url}/assets/texts/stored_vectors?view=checks&checkDetail=one_space",
        "without lineage",
        trap,
    )
    for each in dagster.runs():
        shown += _look(page, f"{dagster.url}/runs/{each['runId']}", "RUN_", trap)
    # Texts, names and what was refused were there to see, as they are.
    for name in ("id", "text", "refused", "films", "store"):
        assert f"![](http://{trap.host}/{name}.png)" in shown, name
    assert trap.asked == []
    page.set_content(f'<img src="http://{trap.host}/is-it-there.png">')
    dagster.wait_for("the trap works", lambda: trap.asked, 20)


def _look(page: "Page", url: str, until: str, trap: Trap) -> str:
    """Everything that a page shows; it links and loads nothing of the texts."""
    page.goto(url)
    page.get_by_text(until).first.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.locator(f'img[src*="{trap.host}"]').count() == 0, url
    links = page.locator("a[href]").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    theirs = (trap.host, "example.com", "javascript:", "mailto:")
    assert not [link for link in links if any(part in link for part in theirs)], url
    return page.locator("body").inner_text()
