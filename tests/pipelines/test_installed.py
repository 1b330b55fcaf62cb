"""The wheel, in an environment of its own, run from a project that `embeddings init` made."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from resources.core.paths import CODE_ROOT
from resources.mongodb import embedded
from tests import servers
from tests.pipelines.helpers import KEYS

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.name == "nt", reason="the environment is laid out as on POSIX"),
    pytest.mark.skipif(servers.secantus() is None, reason="no embedded server: SecantusDB"),
]

WHERE = """\
import assets, pipelines, resources
print(*(module.__file__ for module in (assets, pipelines, resources)))
"""
OURS = ("assets", "configs", "pipelines", "resources")


@dataclass(frozen=True)
class Installed:
    """A virtual environment with our wheel, and a project apart from it."""

    venv: Path
    project: Path
    env: Mapping[str, str]

    @property
    def packages(self) -> Path:
        (found,) = self.venv.glob("lib/python3*/site-packages")
        return found

    def files(self) -> dict[str, str]:
        """What of ours lies in site-packages, with its hash; Python's own cache left out."""
        return {
            str(path.relative_to(self.packages)): hashlib.sha256(path.read_bytes()).hexdigest()
            for name in OURS
            for path in (self.packages / name).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        done = subprocess.run(
            [str(self.venv / "bin" / command[0]), *command[1:]],
            cwd=cwd or self.project,
            env={**self.env, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4_000:]
        return done.stdout


def wheel(folder: Path) -> Path:
    """Built from a copy: a build leaves its folders beside what it builds."""
    source = folder / "source"
    source.mkdir()
    for name in (*OURS, "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        path = CODE_ROOT / name
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *options, str(source)], check=True, stdout=subprocess.DEVNULL)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("installed")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in KEYS and not name.startswith(("EMBEDDINGS_", "DAGSTER_", "PYTHON"))
    }
    made = Installed(folder / "venv", folder / "project", inherited | {"HF_HUB_OFFLINE": "1"})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made.venv)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
    options = ["install", "--quiet", "--no-deps", str(wheel(folder))]
    subprocess.run([*pip, str(made.venv / "bin" / "python"), *options], check=True)
    # The dependencies are those of this environment. Its own `.pth` files, by which the checkout
    # may be installed there, are not read from here.
    libraries = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (made.packages / "dependencies.pth").write_text("\n".join(sorted(libraries)), "utf-8")
    server = servers.secantus()
    assert server is not None
    (made.venv / "bin" / Path(server).name).symlink_to(server)
    made.run("embeddings", "init", str(made.project), cwd=folder)
    yield made
    embedded.stop(made.project / "state" / "mongodb")


def test_it_is_the_wheel_that_runs(installed: Installed):
    places = installed.run("python", "-c", WHERE).split()
    assert places == [
        str(installed.packages / name / "__init__.py")
        for name in ("assets", "pipelines", "resources")
    ]
    assert {path.name for path in installed.packages.glob("pipelines/*.py")} == {"__init__.py"}
    assert not list(installed.packages.glob("tests*"))
    assert not list(installed.packages.glob("benchmarks*"))
    shipped = {path.name for path in installed.packages.glob("configs/*") if path.is_file()}
    assert shipped == {"models.yaml"}


def test_the_commands_from_a_folder_of_the_project(installed: Installed):
    before = installed.files()
    (installed.project / ".env").write_text("EMBEDDINGS_MODELS=models.yaml\n", "utf-8")
    (installed.project / "models.yaml").write_text(
        "models: {voyage/of-ours: {dimensions: [8]}}\n", "utf-8"
    )
    (installed.project / "shared.py").write_text(
        "from pipelines import EmbeddingPipeline\n\n"
        "def over(*configs):\n    return EmbeddingPipeline(name='search', configs=configs)\n",
        "utf-8",
    )
    (installed.project / "pipelines" / "search.py").write_text(
        "from shared import over\n\npipeline = over('notes.yaml', 'embedder/nomic.yaml')\n", "utf-8"
    )
    (installed.project / "configs" / "embedder" / "nomic.yaml").unlink()  # ours is found instead
    inside = installed.project / "data"
    assert installed.run("embeddings", "list", cwd=inside).split() == ["notes", "search"]
    assert f"project: {installed.project}" in installed.run("embeddings", "doctor", cwd=inside)
    assert "12 new" in installed.run("embeddings", "plan", "notes", cwd=inside)
    models = installed.run("embeddings", "models", "--json", cwd=inside)
    assert '"of-ours"' in models
    assert '"voyage-4-large"' in models
    assert "12 of 12 indexed" in installed.run("embeddings", "run", "notes", cwd=inside)
    found = installed.run("embeddings", "search", "notes", "a hole in my tyre", cwd=inside)
    assert "slow-puncture" in found
    state = {path.name for path in (installed.project / "state").iterdir()}
    assert {"batch_store", "dagster", "mongodb"} <= state
    assert not (inside / "state").exists()
    assert installed.files() == before


def test_dagster_loads_and_runs_it(installed: Installed):
    home = installed.project / "state" / "by_dagster"
    home.mkdir(parents=True)
    before = installed.files()
    dagster = ("python", "-m", "dagster")
    found = installed.run(*dagster, "definitions", "validate", DAGSTER_HOME=str(home))
    assert "Validation successful for code location notes" in found
    job = ("job", "execute", "-m", "pipelines.notes", "-j", "notes")
    fragment = ("-c", "configs/mongodb/embedded.yaml")
    assert "RUN_SUCCESS" in installed.run(*dagster, *job, *fragment, DAGSTER_HOME=str(home))
    assert installed.files() == before


def test_as_a_code_location_of_another_deployment(installed: Installed, tmp_path: Path):
    """Whose folder has a workspace.yaml too, and whose environment is not ours."""
    location = {
        "module_name": "pipelines.notes",
        "location_name": "embeddings",
        "working_directory": str(installed.project),
        "executable_path": str(installed.venv / "bin" / "python"),
    }
    (tmp_path / "theirs.py").write_text(
        "import dagster as dg\n\n"
        "@dg.asset(deps=[dg.AssetKey(['notes', 'search_index'])])\n"
        "def answers() -> None: ...\n\n"
        "defs = dg.Definitions(assets=[answers])\n",
        "utf-8",
    )
    load = [{"python_file": "theirs.py"}, {"python_module": location}]
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": load}), "utf-8")
    home = tmp_path / "home"
    home.mkdir()
    validate = ("python", "-m", "dagster", "definitions", "validate")
    found = installed.run(*validate, cwd=tmp_path, DAGSTER_HOME=str(home))
    for name in ("theirs.py", "embeddings"):
        assert f"Validation successful for code location {name}" in found
