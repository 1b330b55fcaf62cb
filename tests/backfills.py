"""Backfills of a pipeline in shards, asked for as the Dagster UI does: over GraphQL."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resources.core.paths import CODE_ROOT
from tests.pipelines.helpers import script

PATIENCE = 300
LAUNCH = """
mutation Launch($it: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $it) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


def launched(
    workspace: Path,
    env: Mapping[str, str],
    pipeline: str,
    shards: Sequence[str],
    run_config: Mapping[str, Any] | None = None,
) -> str:
    """The id of a backfill of these shards; a daemon has to carry it out."""
    assets = [{"path": [pipeline, asset]} for asset in ("embedding_batches", "stored_vectors")]
    params: dict[str, Any] = {"assetSelection": assets, "partitionNames": list(shards)}
    if run_config:
        params["runConfigData"] = run_config
    variables = json.dumps({"it": params})
    done = subprocess.run(
        [script("dagster-graphql"), "-w", str(workspace), "-t", LAUNCH, "-v", variables],
        cwd=CODE_ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A code server may say goodbye on the same stream.
    said = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    answer = json.loads(said)["data"]["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return answer["backfillId"]
