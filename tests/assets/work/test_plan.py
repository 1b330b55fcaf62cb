"""Which plan a run reads: its own, or the newest that was finished when it began."""

import json
import os
import time
from pathlib import Path

import pytest

from assets.work import plan as plan_module
from assets.work.plan import Plan, PlanWriter, plan_of_run, read_chunks
from assets.work.planning import Part
from resources.batch_store.plans import PINNED_FOR
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk
from resources.core.errors import BatchStoreError
from resources.core.lane import Finished, Lane
from resources.core.shards import SHARED, shard_names
from resources.core.space import EmbeddingSpace

SPACE = EmbeddingSpace("p", "model", "", 8, "", normalized=False)
OTHER = EmbeddingSpace("p", "other", "", 8, "", normalized=False)
CHUNK = Chunk.whole("a", "some text", {"kind": "x"})
OLD = "20260101T000000-{:06x}"


@pytest.fixture(params=["folder", "object store"])
def store(request, tmp_path) -> BatchStore:
    if request.param == "folder":
        return BatchStore(str(tmp_path / "batch_store"))
    return BatchStore(f"memory://{tmp_path.name}")


@pytest.fixture
def names(monkeypatch):
    """Plans are as old as can be, in the order in which they are made."""
    made = iter(range(1_000))
    monkeypatch.setattr(plan_module, "version_name", lambda: OLD.format(next(made)))


def make(store: BatchStore, run: str, *, space=SPACE, shard=None, finished=lambda _: None) -> Plan:
    lane = Lane("films", space.id, shard)
    writer = PlanWriter(store, lane=lane, run=run, space=space)
    writer.add(Part("embed", [CHUNK], f"batch-of-{run}"))
    return finish(store, writer, finished, {"source": 1})


def finish(store: BatchStore, writer: PlanWriter, finished: Finished, *found) -> Plan:
    made = writer.finish(*found)
    store.plans.tidy(made.lane.name, finished)
    return made


def read(store: BatchStore, run: str, **options) -> Plan:
    space = options.pop("space", SPACE)
    lane = Lane("films", space.id, options.pop("shard", None))
    return plan_of_run(store, lane, space, run, **options)


def test_a_run_reads_the_plan_that_it_made(store):
    mine = make(store, "run-1")
    make(store, "run-2")
    lines: list[str] = []
    found = read(store, "run-1", log=lines.append)
    assert found == mine
    assert found.lane == Lane("films", SPACE.id)
    assert read_chunks(store, found, found.parts[0]) == [CHUNK]
    assert not lines


def test_a_run_without_one_takes_the_newest_names_it_and_stays_with_it(store):
    make(store, "run-1")
    newest = make(store, "run-2")
    lines: list[str] = []
    assert read(store, "run-3", log=lines.append) == newest
    assert [newest.id in line and "run-2" in line for line in lines] == [True]
    later = make(store, "run-4")
    assert read(store, "run-3") == newest
    assert read(store, "run-5") == later


def test_a_plan_that_is_not_finished_is_nobodys(store):
    first = make(store, "run-1")
    unfinished = PlanWriter(store, lane=first.lane, run="run-2", space=SPACE)
    unfinished.add(Part("embed", [CHUNK], "batch"))
    assert read(store, "run-2").id == first.id


def test_what_only_looks_is_not_bound(store):
    first = make(store, "run-1")
    assert read(store, "run-2", pin=False) == first
    second = make(store, "run-3")
    assert read(store, "run-2", pin=False) == second
    assert read(store, "run-1", pin=False) == first, "in a run with a plan, it is that one"


def make_shards(store: BatchStore, run: str, shards: int, *, finished=lambda _: None) -> Plan:
    lane = Lane("films", SPACE.id)
    writer = PlanWriter(store, lane=lane, run=run, space=SPACE, shards=shards)
    writer.add(Part("embed", [CHUNK], f"shared-of-{run}"), SHARED)
    for shard in range(1, shards):  # the first has nothing to do
        writer.add(Part("embed", [CHUNK], f"batch-{shard}-of-{run}"), shard)
    assert writer.work() == {name: min(n, 1) for n, name in enumerate(shard_names(shards))}
    return finish(store, writer, finished, {"source": 2}, [{"source": n} for n in range(shards)])


def test_a_shard_reads_its_own_part_of_the_plan_and_all_of_them_what_they_share(store):
    whole = make_shards(store, "run-1", 2)
    make_shards(store, "run-2", 2)
    assert (whole.parts, whole.counts, whole.lane) == ([], {"source": 2}, Lane("films", SPACE.id))
    assert read(store, "run-1", shards=2) == whole
    second = read(store, "run-1", shard=1, shards=2)
    assert [part.batch for part in second.parts] == ["batch-1-of-run-1"]
    assert (second.id, second.counts["source"], second.lane.shard) == (whole.id, 1, 1)
    assert read_chunks(store, second, second.parts[0]) == [CHUNK]
    assert read(store, "run-1", shard=0, shards=2).parts == []
    shared = read(store, "run-1", shard=SHARED, shards=2)
    assert [each.share for each in (whole, shared, second)] == [1, 0.5, 0.5]
    assert read_chunks(store, shared, shared.parts[0]) == [CHUNK]
    assert store.plans.batches() >= {"shared-of-run-1", "batch-1-of-run-1", "batch-1-of-run-2"}
    # Another run takes the newest, all steps of it the same.
    assert read(store, "run-3", shard=1, shards=2).run == "run-2"
    make_shards(store, "run-4", 2)
    assert read(store, "run-3", shard=SHARED, shards=2).run == "run-2"


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (1, 2), (2, 1)])
def test_a_plan_of_another_number_of_shards_is_carried_out_by_nobody(store, before, after):
    made = make_shards(store, "run-1", before) if before > 1 else make(store, "run-1")
    for shard in (None, 0) if after > 1 else (None,):
        with pytest.raises(BatchStoreError, match="materialize films/source_documents first"):
            read(store, "run-2", shard=shard, shards=after)
    replaced = make_shards(store, "run-3", after) if after > 1 else make(store, "run-3")
    assert read(store, "run-2", shards=after) == replaced != made


@pytest.mark.usefixtures("names")
def test_old_plans_of_shards_go_as_wholes(store):
    first = make_shards(store, "run-1", 2, finished=lambda run: True)
    for n in range(2, 5):
        make_shards(store, f"run-{n}", 2, finished=lambda run: True)
    with pytest.raises(BatchStoreError, match="there is no plan"):
        store.plans.of_shard("films", first.id, 1)
    assert not {"shared-of-run-1", "batch-1-of-run-1"} & store.plans.batches()


def test_the_plan_of_another_space_is_refused_even_where_there_was_one_of_this(store):
    make(store, "run-1")
    make(store, "run-2", space=OTHER)
    with pytest.raises(BatchStoreError, match="was made for the space other-8"):
        read(store, "run-3")
    assert read(store, "run-1").run == "run-1"


def test_a_plan_made_before_servers_were_told_apart_is_read(store):
    wanted = EmbeddingSpace("p", "m", "", 8, "", False, (("endpoint", "http://a"),))
    make(store, "run-1", space=wanted.without_endpoint())
    assert read(store, "run-2", space=wanted).space == wanted.without_endpoint()


@pytest.mark.parametrize("run", [None, "run-1"])
def test_without_a_plan_it_is_said_what_to_materialize(store, run):
    if run:  # its plan was removed by hand
        plan = make(store, run)
        store._files.remove(f"plans/films/{plan.id}", recursive=True)
    with pytest.raises(BatchStoreError, match="materialize films/source_documents first"):
        read(store, "run-1")


def test_plans_of_the_version_before_are_read(tmp_path):
    """As it wrote them: no pins, and a manifest without a shard."""
    store = BatchStore(str(tmp_path))
    made = make(store, "run-1")
    folder = tmp_path / "plans" / "films"
    (folder / "pins" / "run-1.json").unlink()
    manifest = json.loads((folder / made.id / "plan.json").read_text())
    del manifest["shard"]
    (folder / made.id / "plan.json").write_text(json.dumps(manifest))
    assert json.loads((folder / "current.json").read_text()) == {"plan": made.id}
    assert read(store, "run-2") == made


def test_a_plan_stays_for_as_long_as_a_run_may_read_it(store, names):
    ended: dict[str, bool | None] = {"run-1": True}
    first = make(store, "run-1")
    assert read(store, "run-2").id == first.id
    for answer in (None, False):
        ended["run-2"] = answer
        make(store, "run-3", finished=ended.get)
        found = read(store, "run-2")
        assert read_chunks(store, found, found.parts[0]) == [CHUNK]
        assert "batch-of-run-1" in store.plans.batches()
    ended["run-2"] = True
    last = make(store, "run-4", finished=ended.get)
    assert first.id not in store._files.names("plans/films")
    assert last.id in store._files.names("plans/films")
    assert store._files.names("plans/films/pins") == ["run-3.json", "run-4.json"]


def test_a_pinned_plan_does_not_keep_those_after_it(store, names):
    first = make(store, "run-1")
    for run in ("run-2", "run-3", "run-4"):
        last = make(store, run, finished=lambda name: name != "run-1")
    plans = [name for name in store._files.names("plans/films") if name.startswith("2026")]
    assert plans == [first.id, last.id]


def test_a_run_that_never_ended_keeps_its_plan_for_a_month(tmp_path, names):
    store = BatchStore(str(tmp_path))
    first = make(store, "run-1")
    pin = Path(tmp_path, "plans", "films", "pins", "run-1.json")
    long_ago = time.time() - PINNED_FOR.total_seconds() - 60
    os.utime(pin, (long_ago, long_ago))
    make(store, "run-2")
    assert first.id not in store._files.names("plans/films")
    assert not pin.exists()
