"""A pipeline in shards as its user sees it: plan, backfill and index, from a browser."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pymongo
import pytest
import yaml

from pipelines.framework.sensing.shards import sensor_name
from resources.core.paths import CODE_ROOT
from resources.core.shards import shard_names
from tests import servers, test_ui
from tests.pipelines.helpers import (
    DOCUMENTS,
    corpus_settings,
    environment,
    script,
    write_config,
    write_jsonl,
    write_pipeline,
)
from tests.test_ui import Dagster, _end, _row

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = test_ui.pytestmark
page = test_ui.page

NAME, SHARDS = "shelves", 3
BACKFILLS = """{ partitionBackfillsOrError { ... on PartitionBackfills { results {
    id status numPartitions partitionNames
} } } }"""


@pytest.fixture
def dagster(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Dagster]:
    """`dagster dev` with one pipeline, in shards, of which nothing has run."""
    settings = corpus_settings(
        write_jsonl(tmp_path / "documents.jsonl", DOCUMENTS), static_model, database=NAME
    )
    settings["mongodb"] = {
        "deployment": {"server": {"uri": mongod_uri}},
        "registry": f"{NAME}_registry",
    }
    config = write_config(tmp_path / "shelves.yaml", **settings)
    module = write_pipeline(tmp_path / "shelves", NAME, [config], f"shards={SHARDS}")
    location = {"python_file": {"relative_path": str(module), "location_name": NAME}}
    workspace, log = tmp_path / "workspace.yaml", tmp_path / "dagster-dev.log"
    workspace.write_text(yaml.safe_dump({"load_from": [location]}), "utf-8")
    port = servers.free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [script("dagster"), "dev", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)],
            cwd=CODE_ROOT, env=environment(tmp_path), stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield Dagster(process, f"http://127.0.0.1:{port}", log)
    finally:
        _end(process)
        with pymongo.MongoClient(mongod_uri) as client:
            for name in (NAME, f"{NAME}_registry"):
                client.drop_database(name)


def test_a_backfill_is_launched_and_the_index_follows(dagster: Dagster, page: "Page"):
    dagster.wait_for("location loaded", dagster.locations, 400)
    jobs = f"{dagster.url}/locations/{NAME}/jobs"
    page.goto(f"{jobs}/{NAME}")
    page.get_by_role("button", name="Materialize").click()
    page.get_by_text("Launched run").wait_for()
    (planned,) = dagster.wait_for("the plan", lambda: test_ui._finished(dagster), 400)
    assert planned["status"] == "SUCCESS", test_ui._messages(planned)

    page.goto(f"{jobs}/{NAME}_shards")
    page.get_by_role("button", name="Materialize").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    dialog.get_by_text(f"{SHARDS} partitions").wait_for()
    dialog.get_by_role("button", name="Launch backfill").click()

    def finished() -> bool:
        results = dagster.query(BACKFILLS)["partitionBackfillsOrError"]["results"]
        if not results:
            return False
        (found,) = results
        assert found["numPartitions"] == SHARDS
        assert found["status"] not in ("COMPLETED_FAILED", "FAILED", "CANCELED")
        return found["status"] == "COMPLETED_SUCCESS"

    dagster.wait_for("the backfill", finished, 400)
    (found,) = dagster.query(BACKFILLS)["partitionBackfillsOrError"]["results"]
    page.goto(f"{dagster.url}/runs/b/{found['id']}")
    page.get_by_text("Completed").first.wait_for()

    # The index follows by the sensor, once that is switched on.
    page.goto(f"{dagster.url}/locations/{NAME}/sensors/{sensor_name(NAME)}")
    switch = page.locator("input[type=checkbox]").first
    switch.wait_for(state="attached")
    switch.evaluate("it => it.click()")

    def indexed() -> bool:
        tag = {"key": "dagster/sensor_name", "value": sensor_name(NAME)}
        return any(run["status"] == "SUCCESS" and tag in run["tags"] for run in dagster.runs())

    dagster.wait_for("the index", indexed, 400)
    page.goto(f"{dagster.url}/assets/{NAME}/search_index")
    assert _row(page, "vectors indexed") == str(len(DOCUMENTS))
    page.goto(f"{dagster.url}/assets/{NAME}/stored_vectors?view=partitions")
    for name in shard_names(SHARDS):
        page.get_by_text(name).first.wait_for()
