"""The batch jobs under way: `embedding_jobs`."""

from collections.abc import Callable
from datetime import UTC, datetime

from pymongo.collection import Collection

from resources.core.lane import Lane
from resources.core.moment import now
from resources.embedders.batch.jobs import Job


class LaneJobs:
    """The batch jobs of one lane, as `resources.embedders.batch.jobs.Jobs`.

    Args:
        run: Noted with the jobs that it submits.
        written: Tells whether the batch store has a batch.
    """

    def __init__(
        self, collection: Collection, lane: Lane, run: str, written: Callable[[str], bool]
    ) -> None:
        self.pipeline = lane.pipeline
        self._collection, self._lane, self._run = collection, lane, run
        self._written = written
        self._others: dict[str, str] = {}

    def find(self, space_id: str) -> list[Job]:
        # Those of other shards too, once the provider has them: by another number of shards their
        # texts may be of this one now. What has none is of no shard.
        mine = [{"shard": self._lane.shard}, {"provider_job": {"$ne": None}}]
        wanted = {"pipeline": self.pipeline, "space": space_id, "$or": mine}
        found = []
        entries = list(self._collection.find(wanted).sort("_id", 1))
        mine_by_name = {each["job"] for each in entries if each.get("shard") == self._lane.shard}
        for entry in entries:
            if entry.get("shard") != self._lane.shard:
                if entry["job"] in mine_by_name or entry["job"] in self._others:
                    continue
                self._others[entry["job"]] = entry["_id"]
            job = Job(
                entry["job"], space_id, bytes(entry["texts"]), _utc(entry["submitted_at"]),
                entry["provider_job"], entry["file"], entry["status"],
            )  # fmt: skip
            if self._written(job.batch):
                self.remove(job.name)  # a run died right after it had written it
            else:
                found.append(job)
        return found

    def record(self, job: Job) -> None:
        name = self._id(job.name)
        shard = {} if self._lane.shard is None else {"shard": self._lane.shard}
        values = {
            "pipeline": self.pipeline,
            **({} if job.name in self._others else shard),
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
            {"_id": name},
            {"$set": values, "$setOnInsert": {"run": self._run}},
            upsert=True,
        )

    def remove(self, name: str) -> None:
        self._collection.delete_one({"_id": self._id(name)})

    def _id(self, name: str) -> str:
        if name in self._others:
            return self._others[name]
        # Another pipeline, or shard, may embed the same texts, and wait for a job of its own; a
        # batch's name tells its space.
        shard = "" if self._lane.shard is None else f"{self._lane.shard}/"
        return f"{self.pipeline}/{shard}{name}"


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
