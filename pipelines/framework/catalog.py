"""Find pipelines by name, and open their resources outside a run."""

import importlib
import os
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel
from pymongo import MongoClient

import pipelines
from assets.work.spaces import pipeline_space
from pipelines.framework.pipeline import RESOURCES, EmbeddingPipeline
from pipelines.framework.run_config import build_resources
from resources.batch_store.resource import BatchStoreResource
from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore


def find_pipeline(name: str) -> EmbeddingPipeline:
    """The pipeline of a module `pipelines.<name>`, or of any module given with its dots.

    Raises:
        ConfigurationError: There is no such module, or it declares no pipeline.
    """
    module_name = name if "." in name else f"pipelines.{name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        known = ", ".join(pipeline_names())
        raise ConfigurationError(f"there is no pipeline {name!r}; there are: {known}") from error
    found = getattr(module, "pipeline", None)
    if not isinstance(found, EmbeddingPipeline):
        raise ConfigurationError(
            f"{module_name} declares no `pipeline = EmbeddingPipeline(…)`; pipelines: "
            f"{', '.join(pipeline_names())}"
        )
    return found


def pipeline_names() -> list[str]:
    """Modules of `pipelines/` that declare a pipeline."""
    names = []
    for module in pkgutil.iter_modules(pipelines.__path__):
        source = Path(pipelines.__path__[0], f"{module.name}.py")
        # Reading costs less than importing, and a broken pipeline is still listed.
        if source.exists() and "\npipeline = EmbeddingPipeline(" in source.read_text("utf-8"):
            names.append(module.name)
    return sorted(names)


def unset_variables(settings: BaseModel) -> list[str]:
    """Environment variables that settings name, also by default, and that are not set."""
    names = []
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, dg.EnvVar):
            names += [] if os.environ.get(value.env_var_name) else [value.env_var_name]
        elif isinstance(value, BaseModel):
            names += unset_variables(value)
    return names


@dataclass
class OpenPipeline:
    """A pipeline with its settings resolved; connections are opened when they are asked for."""

    pipeline: EmbeddingPipeline
    values: dict[str, dict[str, Any]]
    _resources: dict[str, Any]
    _stack: ExitStack
    _client: MongoClient | None = None

    def _resource(self, key: str) -> Any:
        missing = unset_variables(self._resources[key])
        if missing:
            raise ConfigurationError(
                f"pipeline {self.pipeline.name} needs {missing[0]} for its {key}: set that "
                "environment variable, or choose another with `-c`"
            )
        return self._resources[key].process_config_and_initialize()

    @property
    def source(self) -> SourceResource:
        return self._resource("source")

    @property
    def embedder(self) -> EmbedderResource:
        return self._resource("embedder")

    @property
    def mongodb(self) -> MongoDBResource:
        return self._resource("mongodb")

    @property
    def vector_store(self) -> VectorStoreResource:
        return self._resource("vector_store")

    @property
    def search_index(self) -> SearchIndexResource:
        return self._resource("search_index")

    @property
    def batch_store(self) -> BatchStoreResource:
        return self._resource("batch_store")

    @property
    def client(self) -> MongoClient:
        if self._client is None:
            self._client = self._stack.enter_context(self.mongodb.connect())
        return self._client

    @property
    def registry(self) -> Registry:
        return Registry(self.client, self.mongodb.registry)

    @property
    def space(self) -> EmbeddingSpace:
        return pipeline_space(
            self.client,
            source=self.source,
            embedder=self.embedder,
            mongodb=self.mongodb,
            vector_store=self.vector_store,
        )

    @property
    def store(self) -> VectorStore:
        return self.vector_store.open(
            self.client,
            self.source,
            self.space,
            self.pipeline.name,
            scale_of=self.registry.int8_scale,
        )


@contextmanager
def open_pipeline(
    pipeline: EmbeddingPipeline | str, overrides: Sequence[str | Path] = ()
) -> Iterator[OpenPipeline]:
    """A pipeline's resources as a run would get them.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
    """
    if isinstance(pipeline, str):
        pipeline = find_pipeline(pipeline)
    values = pipeline.values(overrides)
    with ExitStack() as stack:
        yield OpenPipeline(pipeline, values, build_resources(values, RESOURCES), stack)
