"""The files of deploy/: each is what its program takes, and all say the same."""

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.workspace.load import location_origins_from_yaml_paths

from pipelines.framework.instance import SETTINGS
from resources.core.paths import CODE_ROOT

DEPLOY = CODE_ROOT / "deploy"
VARIABLES = {
    "DAGSTER_POSTGRES_URL": "postgresql+psycopg2://dagster:secret@postgres:5432/dagster",
    "DAGSTER_COMPUTE_LOGS": "/somewhere",
}


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


COMPOSE, WORKSPACE, DAGSTER, HELM = map(
    read, ("compose.yaml", "workspace.yaml", "dagster.yaml", "helm-values.yaml")
)
SERVICES = COMPOSE["services"]
SERVERS = {each["grpc_server"]["location_name"]: each["grpc_server"]
           for each in WORKSPACE["load_from"]}  # fmt: skip
IN_KUBERNETES = {each["name"]: each for each in HELM["dagster-user-deployments"]["deployments"]}


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


# --- dagster.yaml


def test_dagster_takes_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All but the connection, which tests/proofs/test_postgres.py makes."""
    shutil.copy(DEPLOY / "dagster.yaml", tmp_path)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    ref = InstanceRef.from_dir(str(tmp_path))
    assert type(ref.run_launcher).__name__ == "DefaultRunLauncher"
    assert type(ref.run_coordinator).__name__ == "QueuedRunCoordinator"
    storage = ref.storage_data
    assert storage
    assert storage.class_name == "DagsterPostgresStorage"
    assert "secret" not in str(ref.storage_data)  # the name of the variable alone


def test_it_has_all_that_the_projects_own_settings_have():
    own = yaml.safe_load(SETTINGS.read_text("utf-8"))
    for name, value in own.items():
        assert {**DAGSTER[name], **value} == DAGSTER[name], name


def test_a_killed_run_gives_its_slots_back():
    assert DAGSTER["run_monitoring"]["enabled"]
    assert DAGSTER["run_monitoring"]["free_slots_after_run_end_seconds"] > 0


# --- compose.yaml


def client() -> list[str] | None:
    """`docker compose`, or the older `docker-compose`; neither needs a daemon for this."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            found = subprocess.run([*command, "version"], capture_output=True, check=False)
            if found.returncode == 0:
                return command
    return None


CLIENT = client()


@pytest.mark.skipif(CLIENT is None, reason="no docker compose: apt-get install docker-compose")
@pytest.mark.parametrize("profiles", ["mongodb", "mongodb,celery", ""])
def test_compose_takes_it_with_the_example_of_its_variables(profiles: str, tmp_path: Path):
    assert CLIENT
    example = (DEPLOY / ".env.example").read_text("utf-8")
    variables = tmp_path / "variables"
    variables.write_text(example.replace("POSTGRES_PASSWORD=", "POSTGRES_PASSWORD=abc123"), "utf-8")
    file = ["--env-file", str(variables), "-f", str(DEPLOY / "compose.yaml")]
    found = subprocess.run(
        [*CLIENT, *file, "config"],
        capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": os.environ["PATH"], "COMPOSE_PROFILES": profiles},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    services = yaml.safe_load(found.stdout)["services"]
    assert "abc123@postgres:5432" in services["daemon"]["environment"]["DAGSTER_POSTGRES_URL"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "abc123"


@pytest.mark.skipif(CLIENT is None, reason="no docker compose: apt-get install docker-compose")
def test_without_a_password_it_says_where_to_set_one(tmp_path: Path):
    assert CLIENT
    nothing = tmp_path / "variables"
    nothing.write_text("MONGODB_URI=mongodb://db.example.net\n", "utf-8")
    found = subprocess.run(
        [*CLIENT, "--env-file", str(nothing), "-f", str(DEPLOY / "compose.yaml"), "config", "-q"],
        capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert found.returncode != 0
    assert "deploy/.env" in found.stderr


def test_its_variables_are_those_of_the_example():
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    lines = (DEPLOY / ".env.example").read_text("utf-8").splitlines()
    named = {found[1] for line in lines if (found := re.match(r"#?([A-Z_]+)=", line))}
    assert asked - named <= {"OPENAI_API_KEY"}
    assert named - asked == {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"}


def test_each_pipeline_of_the_project_has_a_code_server():
    own = location_origins_from_yaml_paths([str(CODE_ROOT / "workspace.yaml")])
    names = {origin.location_name for origin in own}
    assert SERVERS.keys() == names == IN_KUBERNETES.keys()
    for name, server in SERVERS.items():
        command = SERVICES[server["host"]]["command"]
        assert command[:3] == ["dagster", "api", "grpc"]
        module = option(command, "--module-name")
        assert importlib.util.find_spec(module), module
        port = option(command, "--port")
        assert port == str(server["port"])
        assert SERVICES[server["host"]]["expose"] == [port]
        assert option(SERVICES[server["host"]]["healthcheck"]["test"], "--port") == port
        in_kubernetes = IN_KUBERNETES[name]
        assert str(in_kubernetes["port"]) == port
        assert option(in_kubernetes["dagsterApiGrpcArgs"], "--module-name") == module


def test_dagsters_processes_have_one_image_one_storage_one_home():
    ours = [each for each in SERVICES.values() if "DAGSTER_HOME" in each.get("environment", {})]
    assert len(ours) == len(SERVERS) + 3  # webserver, daemon, worker
    assert len({each["image"] for each in ours}) == 1
    for each in ours:
        home = each["environment"]["DAGSTER_HOME"]
        assert f"./dagster.yaml:{home}/dagster.yaml:ro" in each["volumes"]
        assert "./workspace.yaml:/opt/pipelines/workspace.yaml:ro" in each["volumes"]
        assert each["environment"].keys() >= VARIABLES.keys()
        url = each["environment"]["DAGSTER_POSTGRES_URL"]
        assert re.match(r"postgresql\+psycopg2://dagster:.*@postgres:5432/dagster$", url)
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == "dagster"
    built = [name for name, each in SERVICES.items() if "build" in each]
    assert built == ["webserver"]
    assert (DEPLOY / SERVICES["webserver"]["build"]["context"] / "Dockerfile").is_file()


def test_what_is_mounted_is_there_and_what_keeps_data_is_a_volume():
    for name, service in SERVICES.items():
        for mounted in service.get("volumes", []):
            source = mounted.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"


def test_nothing_listens_on_other_addresses_of_the_machine():
    published = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_extras_that_it_installs_are_there():
    extras = tomllib.loads((CODE_ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    asked = SERVICES["webserver"]["build"]["args"]["EXTRAS"]
    default = asked.partition(":-")[2].rstrip("}").split(",")
    assert set(default) <= extras.keys()
    assert "postgres" in default
    dockerfile = (CODE_ROOT / "Dockerfile").read_text("utf-8")
    assert "ARG EXTRAS=" in dockerfile
    assert "ARG PACKAGES" in dockerfile


# --- helm-values.yaml: helm and the chart are not here, so what can be compared is

CHART = {
    "global", "generatePostgresqlPasswordSecret", "postgresql", "dagsterWebserver",
    "dagster-user-deployments", "runLauncher", "dagsterDaemon", "retention",
    "additionalInstanceConfig", "telemetry", "rabbitmq", "redis", "flower",
}  # fmt: skip
"""Of its values, by the chart's own schema."""


def snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def test_in_kubernetes_the_instance_is_set_up_alike():
    assert HELM.keys() <= CHART
    daemon = HELM["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["maxConcurrentRuns"] == DAGSTER["concurrency"]["runs"]["max_concurrent_runs"]
    monitoring = {snake(name): value for name, value in daemon["runMonitoring"].items()}
    assert {**monitoring, **DAGSTER["run_monitoring"]} == monitoring
    for kind in ("schedules", "sensors"):
        assert {snake(name): value for name, value in daemon[kind].items()} == DAGSTER[kind]
    for kind in ("schedule", "sensor"):
        days = HELM["retention"][kind]["purgeAfterDays"]
        ours = DAGSTER["retention"][kind]["purge_after_days"]
        assert days == (ours if isinstance(ours, int) else {"started": -1, **ours})
    assert HELM["telemetry"] == DAGSTER["telemetry"]
    assert HELM["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"


def test_in_kubernetes_all_run_one_image_of_the_dagster_that_is_pinned():
    images = [each["image"] for each in IN_KUBERNETES.values()]
    assert all(image == images[0] for image in images)
    pins = dict(
        line.split("==")
        for line in (CODE_ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    )
    text = (DEPLOY / "helm-values.yaml").read_text("utf-8")
    assert f"--version {pins['dagster']} " in text
    assert f"dagster-k8s=={pins['dagster-postgres']} " in text
    assert images[0]["repository"] in text.split("docker build", 1)[1].split("\n\n")[0]
