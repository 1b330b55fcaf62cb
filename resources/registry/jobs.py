"""The batch jobs under way: `embedding_jobs`."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo.collection import Collection

from resources.core.lane import Lane
from resources.core.moment import now
from resources.embedders.batch.jobs import FORGOTTEN_AFTER, Job


class LaneJobs:
    """The batch jobs of one lane, as `resources.embedders.batch.jobs.Jobs`.

    Args:
        run: Noted with the jobs that it submits.
        shards: In how many the pipeline is divided.
        written: Tells whether the batch store has a batch.
    """

    def __init__(
        self,
        collection: Collection,
        lane: Lane,
        run: str,
        written: Callable[[str], bool],
        shards: int = 1,
    ) -> None:
        self.pipeline = lane.pipeline
        self._collection, self._lane, self._run = collection, lane, run
        self._written, self._shards = written, shards
        self._others: dict[str, str] = {}

    def find(self, space_id: str) -> list[Job]:
        shard = self._lane.shard
        # Of no shard are those that have None, and those from before there were shards.
        mine = {"shard": shard, "shards": {"$in": [None, self._shards]}}
        # By another number of shards their texts may be of this one now; what the provider has not
        # taken yet is for who submits it.
        other = {"shards": {"$ne": self._shards}, "provider_job": {"$ne": None}}
        wanted = {"pipeline": self.pipeline, "space": space_id, "$or": [mine, other]}
        found = []
        entries = list(self._collection.find(wanted))
        own = {each["job"] for each in entries if self._is_own(each)}
        for entry in entries:
            if entry["job"] not in own:
                self._others[entry["job"]] = entry["_id"]
            elif not self._is_own(entry):
                continue  # the same texts, for which another has waited as well
            job = Job(
                entry["job"], space_id, bytes(entry["texts"]), _utc(entry["submitted_at"]),
                entry["provider_job"], entry["file"], entry["status"],
            )  # fmt: skip
            if self._written(job.batch):
                # A run died right after it had written it.
                self._collection.delete_one({"_id": entry["_id"]})
            else:
                found.append(job)
        return found

    def record(self, job: Job) -> None:
        values = {
            "pipeline": self.pipeline,
            **({} if job.name in self._others else self._piece()),
            "batch": job.batch,
            "job": job.name,
            "space": job.space_id,
            "texts": job.texts,
            "submitted_at": job.submitted,
            "provider_job": job.id,
            "file": job.file,
            "status": job.status,
            "at": now(),
        }
        self._collection.update_one(
            {"_id": self._others.get(job.name) or self._id(job.name)},
            {"$set": values, "$setOnInsert": {"run": self._run}},
            upsert=True,
        )

    def remove(self, name: str) -> None:
        """Forget a job; one of another shard only when nothing can be had of it any more.

        Another shard may want what is left of it.
        """
        if name not in self._others:
            self._collection.delete_one({"_id": self._id(name)})
            return
        old = now() - FORGOTTEN_AFTER
        gone = {"_id": self._others[name], "submitted_at": {"$lt": old}}
        self._collection.delete_one(gone)

    def _is_own(self, entry: Mapping[str, Any]) -> bool:
        same = entry.get("shards", self._shards) == self._shards
        return same and entry.get("shard") == self._lane.shard

    def _piece(self) -> dict[str, int]:
        shard = self._lane.shard
        return {} if shard is None else {"shard": shard, "shards": self._shards}

    def _id(self, name: str) -> str:
        # Another pipeline, or shard, may embed the same texts, and wait for a job of its own; a
        # batch's name tells its space.
        shard = "" if self._lane.shard is None else f"{self._lane.shard}/"
        return f"{self.pipeline}/{shard}{name}"


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
