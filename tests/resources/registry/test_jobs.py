"""Batch jobs are divided by lane and shard, and kept until their batch lies in the store."""

from dataclasses import replace
from datetime import timedelta

import pytest

from resources.core.lane import Lane
from resources.core.moment import now
from resources.core.shards import SHARED
from resources.embedders.batch.jobs import Job
from resources.registry.jobs import LaneJobs

JOB = Job("batch-1", "space-a", b"x" * 16, now() - timedelta(minutes=1), "job-1", "file-1", "done")


def jobs(
    database, shard: int | None = None, written=lambda batch: False, shards: int = 1
) -> LaneJobs:
    lane = Lane("films", "space-a", shard)
    return LaneJobs(database["embedding_jobs"], lane, "run-1", written, shards)


def test_a_job_is_found_until_its_batch_is_written(database):
    jobs(database).record(JOB)
    jobs(database).record(JOB)
    assert jobs(database).find("space-a") == [JOB]
    assert jobs(database).find("space-b") == []
    assert jobs(database, written=lambda batch: batch == "batch-1").find("space-a") == []
    assert database["embedding_jobs"].count_documents({}) == 0


def test_shards_have_jobs_of_their_own(database):
    for shard in (0, 1):
        jobs(database, shard, shards=2).record(JOB)
    jobs(database, 1, shards=2).remove("batch-1")
    assert jobs(database, 0, shards=2).find("space-a") == [JOB]
    assert jobs(database, 1, shards=2).find("space-a") == []


@pytest.mark.parametrize(("before", "shards"), [(None, 1), (0, 4), (3, 4), (SHARED, 4)])
@pytest.mark.parametrize(("after", "now_shards"), [(None, 1), (0, 2), (1, 2), (SHARED, 2)])
def test_by_another_number_of_shards_a_job_is_gone_on_with(
    database, before, shards, after, now_shards
):
    if shards == now_shards:
        pytest.skip("the same number")
    jobs(database, before, shards=shards).record(JOB)
    lane = jobs(database, after, shards=now_shards)
    (found,) = lane.find("space-a")
    assert found == JOB
    lane.record(replace(found, status="ended"))
    (entry,) = database["embedding_jobs"].find()
    assert (entry["status"], entry.get("shard")) == ("ended", before)
    # What is left of it may be wanted by another shard; for as long as there is anything to be had.
    lane.remove(found.name)
    assert database["embedding_jobs"].count_documents({}) == 1
    lane.record(replace(found, submitted=now() - timedelta(days=30)))
    lane.remove(found.name)
    assert database["embedding_jobs"].count_documents({}) == 0


def test_of_two_for_the_same_texts_its_own_is_gone_on_with(database):
    jobs(database).record(replace(JOB, id="job-0"))
    jobs(database, 0, shards=2).record(JOB)
    lane = jobs(database, 0, shards=2)
    assert lane.find("space-a") == [JOB]
    lane.remove(JOB.name)
    assert jobs(database).find("space-a") == [replace(JOB, id="job-0")]


def test_one_that_another_number_of_shards_is_just_submitting_is_left_to_it(database):
    jobs(database, 0, shards=2).record(replace(JOB, id=None))
    assert jobs(database).find("space-a") == []
    assert jobs(database, 0, shards=2).find("space-a") == [replace(JOB, id=None)]


def test_without_a_shard_a_job_is_written_as_it_was_before_there_were_any(database):
    jobs(database).record(JOB)
    (found,) = database["embedding_jobs"].find()
    assert found["_id"] == "films/batch-1"
    assert "shard" not in found
