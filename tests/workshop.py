"""A pipeline to try things on: its own YAML, database, batch store, and a real Dagster run."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import yaml

from assets.about import ASSETS, CANDIDATE, QUALITY
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.framework.run_config import merge
from pipelines.operations.search import SearchAnswer, search


@dataclass
class Run:
    """What one run said."""

    success: bool
    failures: list[str]
    checks: dict[str, bool]
    metadata: dict[str, dict[str, Any]]
    run_id: str
    tags: Mapping[str, str]

    def __getattr__(self, asset: str) -> dict[str, Any]:
        return self.metadata[asset]


@functools.cache
def shared_instance() -> dg.DagsterInstance:
    """One for all runs of a process: to make its database takes longer than many a run."""
    return dg.DagsterInstance.ephemeral()


@dataclass
class Workshop:
    folder: Path
    uri: str
    database: str
    model: str
    name: str = "films"
    settings: dict[str, Any] = field(default_factory=dict)
    shards: int = 1

    def __post_init__(self) -> None:
        self.client: pymongo.MongoClient = pymongo.MongoClient(self.uri)
        self.configure(
            {
                "source": {"origin": {"jsonl": {"path": str(self.source)}}, "carry": ["kind"]},
                "embedder": {"provider": {"sentence_transformers": {"model": self.model}}},
                "mongodb": {
                    "deployment": {"server": {"uri": self.uri}},
                    "registry": self.database,
                    "timeout_seconds": 60,
                },
                "vector_store": {"database": self.database, "collection": "vectors"},
                "search_index": {"filter_fields": ["kind"]},
                "batch_store": {"url": str(self.folder / "batch_store")},
                "runs": {"retries": 0},
            }
        )

    @property
    def source(self) -> Path:
        return self.folder / "source.jsonl"

    @property
    def vectors(self) -> pymongo.collection.Collection:
        return self.client[self.database]["vectors"]

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Merge settings by resource key; a union given anew replaces the old choice."""
        merged = merge(self.settings, settings)
        for resource, union in (("source", "origin"), ("embedder", "provider")):
            if union in settings.get(resource, {}):
                merged[resource][union] = settings[resource][union]
        self.settings = merged

    def write(self, documents: Sequence[Mapping[str, Any]]) -> None:
        lines = (json.dumps(document) for document in documents)
        self.source.write_text("\n".join(lines) + "\n", "utf-8")

    @property
    def pipeline(self) -> EmbeddingPipeline:
        file = self.folder / f"{self.name}.yaml"
        resources = {key: {"config": values} for key, values in self.settings.items()}
        file.write_text(yaml.safe_dump({"resources": resources}), "utf-8")
        return EmbeddingPipeline(name=self.name, configs=[file], shards=self.shards)

    def run(
        self,
        *assets: str,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        job: str = "",
        shard: str | None = None,
    ) -> Run:
        """Materialize all assets, or those named, in this process; those of a job, and shard."""
        definition = self.pipeline.definitions().resolve_job_def(job or self.name)
        keys = [dg.AssetKey([self.name, asset]) for asset in assets]
        result = definition.execute_in_process(
            partition_key=shard,
            asset_selection=keys or None,
            run_config=config,
            raise_on_error=False,
            instance=shared_instance(),
            tags=dict(tags or {}),
        )
        metadata = {
            event.asset_key.path[-1]: {
                name: value.value
                for name, value in event.step_materialization_data.materialization.metadata.items()
            }
            for event in result.get_asset_materialization_events()
        }
        return Run(
            result.success,
            list(_failures(result)),
            {e.check_name: e.passed for e in result.get_asset_check_evaluations()},
            {
                asset: metadata[asset]
                for asset in (*ASSETS, CANDIDATE, QUALITY)
                if asset in metadata
            },
            result.run_id,
            _tags(result.run_id),
        )

    def search(self, query: str, **options: Any) -> SearchAnswer:
        return search(self.pipeline, query, **options)

    def stored(self) -> dict[Any, dict[str, Any]]:
        return {document["_id"]: document for document in self.vectors.find()}

    def quarantine(self) -> dict[str, str]:
        """Reason by place of what cannot be embedded."""
        with open_pipeline(self.pipeline) as opened:
            found = opened.registry.quarantine.entries(self.name)
        return {str(entry.id or entry.where): entry.reason for entry in found}


def _tags(run: str) -> Mapping[str, str]:
    found = shared_instance().get_run_by_id(run)
    return found.tags if found else {}


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data:
                yield data.user_failure_data.description or ""
            elif data.error:
                yield data.error.to_string()
