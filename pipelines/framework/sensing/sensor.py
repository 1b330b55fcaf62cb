"""The sensor that runs a pipeline when its source changes: `<pipeline>_changes`.

A collection is watched by its change stream, and a run compares just the documents that changed;
files by their sizes and dates, and a run compares all. One run at a time: what changes meanwhile is
collected. Whatever is not certain, such as a place in the stream that the server has forgotten, is
answered by one comparison of the whole source. The schedule stays the net beneath.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.about import ASSETS, CANDIDATE
from assets.opened import required
from assets.work.versions import CODE
from pipelines.framework.sensing.tick import Tick, Watched
from resources.core.errors import ConfigurationError
from resources.sources.collection import CollectionOrigin
from resources.sources.files import FileOrigin
from resources.sources.folder import FolderOrigin
from resources.sources.resource import SourceResource

if TYPE_CHECKING:
    from pipelines.framework.pipeline import EmbeddingPipeline

INTERVAL_SECONDS = 5
FILES_INTERVAL_SECONDS = 30


def name_of_settings(values: Mapping[str, Any]) -> str:
    """Another one after every change of a pipeline's settings, or of the code that results go by.

    Variables of the environment count by their names.
    """
    text = json.dumps([values, dict(CODE)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build_change_sensor(
    watched: Watched, source: SourceResource, job: Any, *, running: bool
) -> dg.SensorDefinition:
    """The sensor.

    Args:
        watched: The pipeline.
        source: As its own files have it.
        job: Its job.
        running: Switched on as soon as the code location is loaded.

    Raises:
        ConfigurationError: There is nothing to watch.
    """
    origin = source.origin
    collection = isinstance(origin, CollectionOrigin)
    if not isinstance(origin, CollectionOrigin | FileOrigin | FolderOrigin):
        raise ConfigurationError(
            f"pipeline {watched.name} has on_change=True, but its texts stand in its "
            "configuration, where nothing changes by itself: leave it out"
        )

    @dg.sensor(
        name=watched.sensor,
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS if collection else FILES_INTERVAL_SECONDS,
        default_status=(
            dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
        ),
        required_resource_keys=required(watched.prefix),
        description=(
            "Runs the pipeline when documents of its collection change, over just those."
            if collection
            else "Runs the pipeline when the files of its source are others than before."
        ),
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return Tick(watched, context).result()

    return changes


def change_sensors(
    pipeline: "EmbeddingPipeline",
    prefix: str,
    values: Mapping[str, Any],
    resources: Mapping[str, Any],
    job: Any,
) -> list[dg.SensorDefinition]:
    """As `build_change_sensor`, where the pipeline wants one; searches are not measured anew.

    Args:
        pipeline: Itself.
        prefix: Of its resources' keys.
        values: Its settings.
        resources: Made from them.
        job: Its own.

    Raises:
        ConfigurationError: As there.
    """
    if not pipeline.on_change:
        return []
    # Of a pipeline in shards its own job plans only.
    assets = ASSETS[:1] if pipeline.shards > 1 else (*ASSETS, CANDIDATE)
    keys = [dg.AssetKey([pipeline.name, asset]) for asset in assets]
    promised = resources["freshness"].promised
    first = promised and (promised[0] or promised[1])
    name, settings = pipeline.name, name_of_settings(values)
    watched = Watched(name, prefix, settings, keys, first, pipeline.shards)
    running = pipeline.schedule_status is dg.DefaultScheduleStatus.RUNNING
    return [build_change_sensor(watched, resources["source"], job, running=running)]
