"""Runs whose steps are done by Celery workers: a broker, workers as processes, a project for both.

The broker is Redis where it is installed, else a folder.
"""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

from pipelines.framework.machines.broker import VARIABLE as BROKER
from pipelines.framework.machines.workers import APP
from resources.core.paths import CODE_ROOT
from resources.core.paths import VARIABLE as PROJECT
from tests.loads import VARIABLE as LOADS
from tests.servers import free_port

PATIENCE = 180.0
"""Seconds for what happens at once on a machine that has nothing else to do."""


def wait_for(seen: Any, what: str, seconds: float = PATIENCE) -> Any:
    until = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < until, f"waited for {what}"
        time.sleep(0.02)
    return found


def eventually(seen: Any, what: str, log: Path, seconds: float = 400.0) -> Any:
    """As `wait_for`, of what a daemon does, whose log is told where it does not come to it."""
    try:
        return wait_for(seen, what, seconds)  # a busy machine is no fault
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text('utf-8')[-6000:]}") from error


@contextmanager
def redis() -> Iterator[str]:
    """A Redis server that writes nothing down."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no Redis: apt-get install redis-server")
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly"]
    process = subprocess.Popen([*command, "no"], stdout=subprocess.DEVNULL)
    try:
        import redis as client

        asked = client.Redis(port=port)
        wait_for(lambda: _pings(asked), "Redis")
        asked.close()
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _pings(client: Any) -> bool:
    import redis as library

    try:
        return client.ping()
    except library.exceptions.ConnectionError:
        return False


@contextmanager
def any_broker(folder: Path) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        yield f"filesystem://{folder / 'broker'}"
        return
    with redis() as url:
        yield url


class WorkerProcess:
    """A Celery worker as a user starts it, with all its processes in a group of its own."""

    def __init__(
        self,
        machines: Any,
        name: str,
        *queues: str,
        app: str = APP,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.log = machines.folder / f"worker-{name}.log"
        self._loads = machines.folder / f"loads-{name}.txt"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", app, "worker", "-c", "1"),
                *("-n", f"{name}@%h", "-Q", ",".join(queues or ("dagster",)), "--loglevel", "INFO"),
                *("--without-gossip", "--without-mingle", "-I", "tests.loads"),
            ],
            cwd=machines.folder,
            env=machines.environment | {LOADS: str(self._loads)} | dict(variables or {}),
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        wait_for(lambda: b" ready." in self.log.read_bytes(), f"a worker: {self.log}")

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def loads(self) -> list[str]:
        """What was loaded, and connected, in the order."""
        return self._loads.read_text("utf-8").splitlines() if self._loads.exists() else []

    def kill(self) -> None:
        """SIGKILL for all of it: the machine is gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass
class Machines:
    """A project with one pipeline, and what its runs and workers share.

    Attributes:
        settings: Of the pipeline's resources.
        variables: Of the environment of all of them.
        arguments: Of the pipeline besides, as they stand in its module.
    """

    folder: Path
    broker: str
    settings: Mapping[str, Any]
    name: str = "films"
    executor: str = "celery"
    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()

    def __post_init__(self) -> None:
        (self.folder / "pipelines").mkdir(parents=True, exist_ok=True)
        (self.folder / "dagster").mkdir()
        (self.folder / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        (self.folder / "workspace.yaml").write_text("load_from: []\n")
        self.declare(self.name, self.settings)
        self.started: list[WorkerProcess] = []

    def declare(self, name: str, settings: Mapping[str, Any]) -> None:
        """Write a pipeline's module and its YAML."""
        config = self.folder / f"{name}.yaml"
        resources = {key: {"config": values} for key, values in settings.items()}
        config.write_text(yaml.safe_dump({"resources": resources}), "utf-8")
        self.module(name).write_text(
            textwrap.dedent(
                f"""\
                import dagster as dg

                from pipelines import EmbeddingPipeline

                pipeline = EmbeddingPipeline(
                    name={name!r}, configs=[{str(config)!r}], {", ".join(self.arguments)}
                )
                defs = pipeline.definitions()
                """
            )
        )

    def module(self, name: str) -> Path:
        return self.folder / "pipelines" / f"{name}.py"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "EMBEDDINGS_HOME": str(self.folder / "state"),
            "EMBEDDINGS_EXECUTOR": self.executor,
            PROJECT: str(self.folder),
            BROKER: self.broker,
            "PYTHONPATH": str(CODE_ROOT),
            "OMP_NUM_THREADS": "1",
            **self.variables,
        }

    def worker(
        self,
        name: str,
        *queues: str,
        app: str = APP,
        variables: Mapping[str, str] | None = None,
    ) -> WorkerProcess:
        made = WorkerProcess(self, name, *queues, app=app, variables=variables)
        self.started.append(made)
        return made

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.folder / "dagster"))

    def job(self) -> ReconstructableJob:
        """As a worker loads it too; with the executor that the environment chooses now."""
        pointer = FileCodePointer(str(self.module(self.name)), "defs", str(self.folder))
        return ReconstructableJob(ReconstructableRepository(pointer), self.name)

    def run(self, **config: Any) -> dg.JobExecutionResult:
        """A run in this process, which hands its steps over."""
        with self.instance() as instance:
            return dg.execute_job(
                self.job(),
                instance,
                run_config={"execution": {"config": config}} if config else None,
                raise_on_error=False,
            )

    def launch(self, *arguments: str, name: str = "") -> subprocess.Popen[bytes]:
        """A run in a process of its own, by Dagster's command line."""
        dagster, name = str(Path(sys.executable).with_name("dagster")), name or self.name
        return subprocess.Popen(
            [dagster, "job", "execute", "-f", str(self.module(name)), "-j", name, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=(self.folder / f"run-{name}.log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def close(self) -> None:
        for worker in self.started:
            worker.kill()
