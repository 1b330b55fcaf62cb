"""What the Dagster instance knows of a pipeline's runs: read a page at a time, nothing written."""

import heapq
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.tags import (
    AUTOMATION_CONDITION_TAG,
    BACKFILL_ID_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
    USER_TAG,
)
from sqlalchemy.exc import SQLAlchemyError

from assets import run_tags
from pipelines.framework.instance import project_instance
from resources.core.errors import EmbeddingsError

PAGE = 100
MOST = 2_000
"""Runs that are looked through for one pipeline, and those of assets without a job as well."""

State = Literal["succeeded", "failed", "canceled", "running", "queued"]
_STATES: dict[str, State] = {
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "CANCELED": "canceled",
    "CANCELING": "running",
    "STARTED": "running",
    "STARTING": "running",
}
"""The others wait for their turn."""


class RecordsError(EmbeddingsError):
    """The Dagster instance cannot be read."""


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        started: When; when it was asked for, where it has not begun.
        by: Who or what started it.
    """

    id: str
    state: State
    started: datetime
    ended: datetime | None
    by: str
    tags: Mapping[str, str]

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else (self.ended - self.started).total_seconds()

    @classmethod
    def of(cls, record: dg.RunRecord) -> "RunRecord":
        run, start, end = record.dagster_run, record.start_time, record.end_time
        # Dagster's tables have UTC without saying so.
        asked = record.create_timestamp.replace(tzinfo=UTC)
        return cls(
            run.run_id,
            _STATES.get(run.status.value, "queued"),
            datetime.fromtimestamp(start, UTC) if start else asked,
            datetime.fromtimestamp(end, UTC) if end else None,
            _started_by(run.tags),
            run.tags,
        )


@contextmanager
def records() -> Iterator[dg.DagsterInstance]:
    """The project's Dagster instance, to be read.

    Raises:
        RecordsError: It cannot be: no right to, no room, a database that is none.
    """
    try:
        with project_instance() as instance:
            yield instance
    except EmbeddingsError:
        raise
    except (OSError, SQLAlchemyError, dg.DagsterError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RecordsError(
            f"what Dagster knows of runs cannot be read: {lines[0][:300]}; is DAGSTER_HOME the "
            "folder of this project's instance, and yours?"
        ) from error


def runs_of(
    instance: dg.DagsterInstance, pipeline: str, since: datetime | None = None
) -> Iterator[RunRecord]:
    """Runs of a pipeline's job, and of its assets without it, the newest first; `MOST` of each."""
    own = _pages(instance, dg.RunsFilter(job_name=pipeline, created_after=since))
    alone = dg.RunsFilter(job_name=IMPLICIT_ASSET_JOB_NAME, created_after=since)
    some = (each for each in _pages(instance, alone) if _selects(each, pipeline))
    # Jobs of the user's own: their runs say whose assets they made.
    tagged = dg.RunsFilter(tags={run_tags.PIPELINE: pipeline}, created_after=since)
    more = (each for each in _pages(instance, tagged) if _is_other(each, pipeline))
    merged = heapq.merge(own, some, more, key=lambda record: record.storage_id, reverse=True)
    return map(RunRecord.of, merged)


def _pages(instance: dg.DagsterInstance, which: dg.RunsFilter) -> Iterator[dg.RunRecord]:
    return islice(_all(instance, which), MOST)


def _all(instance: dg.DagsterInstance, which: dg.RunsFilter) -> Iterator[dg.RunRecord]:
    cursor, size = None, 5  # mostly the newest is all that is wanted
    while page := instance.get_run_records(which, limit=size, cursor=cursor):
        yield from page
        if len(page) < size:
            return
        cursor, size = page[-1].dagster_run.run_id, PAGE


def _selects(record: dg.RunRecord, pipeline: str) -> bool:
    selected = record.dagster_run.asset_selection or ()
    return any(key.path[0] == pipeline for key in selected)


def _is_other(record: dg.RunRecord, pipeline: str) -> bool:
    run = record.dagster_run
    known = run.job_name in (pipeline, IMPLICIT_ASSET_JOB_NAME)
    return not known and run.tags.get(run_tags.REASON) != run_tags.MAINTENANCE


def _started_by(tags: Mapping[str, str]) -> str:
    """In the words of whoever started it, else by what Dagster notes."""
    if SCHEDULE_NAME_TAG in tags:
        return f"schedule {tags[SCHEDULE_NAME_TAG]}"
    if SENSOR_NAME_TAG in tags:
        return f"sensor {tags[SENSOR_NAME_TAG]}"
    if reason := tags.get(run_tags.REASON):
        return reason
    if AUTOMATION_CONDITION_TAG in tags:
        return "automation condition"
    if BACKFILL_ID_TAG in tags:
        return "backfill"
    return tags.get(USER_TAG) or "Dagster UI"
