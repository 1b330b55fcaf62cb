"""The Dagster instance of the `embeddings` command: new ones, and commands that share one."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.framework.instance import SETTINGS, project_instance
from resources.core.paths import CODE_ROOT
from tests.pipelines.helpers import environment

AT_ONCE = 4

# Starts at a sign, so that the processes meet after their imports.
OPEN = """\
import sys
from pipelines.framework.instance import SETTINGS, project_instance
print("ready", flush=True)
sys.stdin.readline()
with project_instance() as instance:
    print(instance.get_runs_count())
"""


def test_commands_that_start_at_once_make_one_instance(tmp_path: Path):
    env = environment(tmp_path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN],
            cwd=CODE_ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(AT_ONCE)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            output, errors = process.communicate(timeout=600)
            assert (process.returncode, output) == (0, "0\n"), errors[-2_000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    # Two schema versions in its files would let nobody open it again.
    with dg.DagsterInstance.from_config(env["DAGSTER_HOME"]) as instance:
        assert instance.get_runs_count() == 0


def test_a_new_instance_has_the_project_s_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "new" / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with project_instance() as instance:
        assert instance.run_monitoring_enabled
    assert (home / "dagster.yaml").read_text("utf-8") == SETTINGS.read_text("utf-8")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", "utf-8")
    with project_instance() as instance:
        assert not instance.run_monitoring_enabled


def test_a_read_only_home_is_opened_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "mounted"
    home.mkdir()
    storage = {"sqlite": {"base_dir": str(tmp_path / "elsewhere")}}
    logs = {"module": "dagster._core.storage.noop_compute_log_manager"}
    settings = {
        "storage": storage,
        "compute_logs": logs | {"class": "NoOpComputeLogManager"},
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(tmp_path / "elsewhere")},
        },
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    # As the system answers of a read-only mount; to root every other folder is writable.
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != home and access(path, mode))
    with project_instance() as instance:
        assert instance.get_runs_count() == 0
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
