"""The local engine over a genuine mongod: what it reads, shares, merges, prunes and survives."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pymongo
import pytest
from bson import ObjectId

from resources.batch_store import files as batch_files
from resources.core.errors import LeaseError, SearchIndexError
from resources.registry.indexes import Indexes
from resources.search_index.local import merging, versions
from resources.search_index.local.files import FolderWriter
from resources.search_index.query import Query
from tests.resources.search_index.local.building import clustered
from tests.resources.search_index.local.stored import Stored

COUNT = 400
VECTORS = clustered(2_000, 8, seed=1)


def silent(line: str) -> None:
    """Takes a line of progress."""


@pytest.fixture(params=["disk", "memory"])
def stored(request: pytest.FixtureRequest, mongod_uri: str, tmp_path: Path) -> Iterator[Stored]:
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri)
    database = client[f"engine_{ObjectId()}"]
    folder = tmp_path if request.param == "disk" else f"memory://{database.name}"
    found = Stored(database, folder)
    found.put(enumerate(VECTORS[:COUNT]), kind="first")
    yield found
    client.drop_database(database)
    client.close()


def ids(engine: Any, number: int = 0, **query: Any) -> list[Any]:
    found = engine.serve().nearest(VECTORS[number], Query(limit=10, **query))
    return [hit.id for hit in found]


def segments(engine: Any) -> list[Any]:
    return engine.serve().version.segments


def agree(stored: Stored, engine: Any, **declared: Any) -> None:
    """The index answers exactly like one that is built from nothing."""
    fresh = stored.engine(f"fresh-{ObjectId()}", **declared)
    fresh.reconcile(silent)
    for number in range(0, 2_000, 97):
        for chosen in (None, {"kind": "second"}):
            asked = Query(limit=20, exact=True, filter=chosen)
            found = engine.serve().nearest(VECTORS[number], asked)
            assert found == fresh.serve().nearest(VECTORS[number], asked)


def test_only_what_changed_is_read(stored: Stored) -> None:
    engine = stored.engine()
    first = engine.reconcile(silent)
    assert (first.changed, first.indexed) == (True, COUNT)
    stored.put([(7, VECTORS[1_000])], kind="second")
    stored.delete(8, 9)
    before = engine.serve()
    report = engine.reconcile(silent)
    details = {name: report.details[name] for name in ("segments", "vectors read", "rows deleted")}
    assert details == {"segments": 2, "vectors read": 1, "rows deleted": 3}
    assert report.indexed == COUNT - 2
    assert segments(engine)[0] is before.version.segments[0]
    assert ids(engine, 1_000)[0] == 7
    # a process that has the version before open goes on
    assert before.nearest(VECTORS[8], Query(limit=1))[0].id == 8
    agree(stored, engine)


def test_nothing_is_read_where_no_run_has_changed_anything(stored: Stored) -> None:
    engine = stored.engine()
    engine.reconcile(silent)
    version = engine.serve().entry.version
    with patch.object(type(stored.store), "marks", side_effect=AssertionError):
        assert not engine.reconcile(silent).changed
    stored.changed()  # but in truth it is as it was
    assert not engine.reconcile(silent).changed
    assert engine.serve().entry.version == version
    with patch.object(type(stored.store), "marks", side_effect=AssertionError):
        assert not engine.reconcile(silent).changed


def test_many_small_changes_make_few_segments(stored: Stored) -> None:
    engine = stored.engine(exact_below=0)
    engine.reconcile(silent)
    for number in range(60):
        stored.put([(number * 3, VECTORS[1_000 + number])], kind="second")
        report = engine.reconcile(silent)
        assert report.details["vectors read"] == 1
        assert report.details["segments"] <= merging.MOST_SEGMENTS
        assert report.merge_due == (
            number >= 20
        )  # a change takes one out of the graph, and adds one
    agree(stored, engine)


def test_a_merge_gives_everything_a_graph(stored: Stored) -> None:
    engine = stored.engine(exact_below=0)
    assert not engine.reconcile(silent).merge_due
    assert engine.merge(silent) is None
    stored.put(enumerate(VECTORS[1_000:1_050]), kind="second")
    assert engine.reconcile(silent).merge_due
    before = engine.serve()
    stored.put([(60, VECTORS[1_060])], kind="second")
    assert engine.reconcile(silent).merge_due, "it is due until it is done"
    found = engine.merge(silent)
    assert found
    assert (found.published, found.vectors, found.why) == (True, COUNT, "")
    (only,) = segments(engine)
    assert only.has_graph
    assert not engine.reconcile(silent).changed, "the merged version is up to date"
    assert before.nearest(VECTORS[1_049], Query(limit=1))[0].id == 49
    agree(stored, engine, exact_below=0)
    stored.put([(61, VECTORS[1_061])], kind="second")
    report = engine.reconcile(silent)
    assert (report.details["vectors read"], report.merge_due) == (1, False)


def test_an_index_that_outgrows_comparing_with_all_gets_a_graph(stored: Stored) -> None:
    engine = stored.engine(exact_below=COUNT)
    engine.reconcile(silent)
    stored.put([("more", VECTORS[500])])
    assert engine.reconcile(silent).merge_due
    assert ids(engine, 500)[0] == "more"
    assert engine.merge(silent)
    assert segments(engine)[0].has_graph
    stored.delete(*range(100))
    assert engine.reconcile(silent).merge_due
    assert engine.merge(silent)
    assert not segments(engine)[0].has_graph
    agree(stored, engine)


def between(what: Callable[[], Any]) -> Any:
    """Something that happens once, after a merged segment is saved and before it is published."""
    rebased, done = merging.rebased, []

    def late(*args: Any) -> Any:
        if not done:
            done.append(True)
            what()
        return rebased(*args)

    return patch.object(merging, "rebased", late)


def due(stored: Stored) -> Any:
    engine = stored.engine(exact_below=0)
    engine.reconcile(silent)
    stored.put(enumerate(VECTORS[1_000:1_050]), kind="second")
    assert engine.reconcile(silent).merge_due
    return engine


@pytest.mark.parametrize("moment", ["before it is based", "before it is published"])
def test_what_changes_during_a_merge_is_not_lost(stored: Stored, moment: str) -> None:
    engine, other = due(stored), stored.engine(exact_below=0)

    def change() -> None:
        stored.put([(3, VECTORS[1_100]), (300, VECTORS[1_101]), ("new", VECTORS[1_102])])
        stored.delete(4, 301)
        assert other.reconcile(silent).changed

    replaced, done = Indexes.replace_version, []

    def late(self: Indexes, *args: Any) -> bool:
        if not done:
            done.append(True)
            change()
        return replaced(self, *args)

    if moment == "before it is based":
        with between(change):
            found = engine.merge(silent)
    else:
        with patch.object(Indexes, "replace_version", late):
            found = engine.merge(silent)
    assert found
    assert found.published
    assert [segment.has_graph for segment in segments(engine)] == [True, False]
    assert ids(engine, 1_102)[0] == "new"
    assert not engine.reconcile(silent).changed
    agree(stored, engine, exact_below=0)


def test_two_merges_at_once(stored: Stored) -> None:
    engine, other = due(stored), stored.engine(exact_below=0)
    theirs = []
    with between(lambda: theirs.append(other.merge(silent))):
        mine = engine.merge(silent)
    assert mine
    assert [theirs[0].published, mine.published] == [True, False]
    assert mine.why == "the index was built anew meanwhile"
    assert len(segments(engine)) == 1
    agree(stored, engine, exact_below=0)


def test_another_declaration_is_built_from_nothing(stored: Stored) -> None:
    stored.engine().reconcile(silent)
    for declared in ({"similarity": "euclidean"}, {"filter_fields": []}, {"max_edges": 32}):
        engine = stored.engine(**declared)
        report = engine.reconcile(silent)
        assert report.details["vectors read"] == COUNT
        assert len(segments(engine)) == 1


def test_most_of_it_changed_is_built_from_nothing(stored: Stored) -> None:
    engine = stored.engine(exact_below=0)
    engine.reconcile(silent)
    stored.put(enumerate(VECTORS[1_000:1_300]), kind="second")
    report = engine.reconcile(silent)
    assert (report.details["segments"], report.merge_due) == (1, False)
    agree(stored, engine)
    stored.delete(*range(COUNT))
    report = engine.reconcile(silent)
    assert (report.indexed, report.details["segments"]) == (0, 0)
    assert ids(engine) == []
    stored.put([(1, VECTORS[1])])
    assert engine.reconcile(silent).indexed == 1


def test_what_no_version_needs_is_removed(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_files, "PRUNED_AFTER", timedelta(0))
    names = iter(f"20261123T{number:06}-abcdef" for number in range(1_000))
    monkeypatch.setattr(versions, "version_name", lambda: next(names))
    engine = due(stored)
    before = engine.serve().entry.version
    engine.merge(silent)
    files = batch_files.Files(f"{stored.folder}/indexes/films/vector_index")
    there = [name for name in files.names("") if name != "segments"]
    assert there == [before, engine.serve().entry.version]
    versions.forget()
    engine._versions.open(before)
    for _ in range(3):
        stored.put([("new", VECTORS[500])])
        engine.reconcile(silent)
    needed = {segment.name for segment in segments(engine)}
    assert needed <= set(files.names("segments"))
    assert len(files.names("segments")) <= len(needed) + 1
    agree(stored, engine)


def test_a_damaged_segment_is_built_again(stored: Stored) -> None:
    engine = stored.engine()
    engine.reconcile(silent)
    (segment,) = segments(engine)
    files = batch_files.Files(segment.folder)
    del segment
    files.write("ids.bson", b"torn")
    versions.forget()
    with pytest.raises(SearchIndexError, match=r"torn or foreign ids\.bson"):
        engine.serve()
    said: list[str] = []
    assert engine.reconcile(said.append).changed
    assert said[0].endswith("materialize search_index again; building it again")
    agree(stored, engine)


def test_a_lease_that_is_lost_shows_nothing(stored: Stored) -> None:
    engine = stored.engine()
    engine.reconcile(silent)
    version = engine.serve().entry.version
    stored.put([(1, VECTORS[1_000])])

    class Lost:
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == 3:
                raise LeaseError("lost")

    with pytest.raises(LeaseError):
        engine.reconcile(silent, Lost())  # type: ignore[arg-type]
    assert engine.serve().entry.version == version


class Killed(BaseException):
    """No `Exception`: what handles errors must not get hold of it, as of no kill."""


def killed_at(number: int, what: Callable[[], Any]) -> bool:
    """Do something that ends before one of its writes; False where it has fewer."""
    writes = 0

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes >= number:  # what would tidy up is dead too
                raise Killed
            return write(*args, **options)

        return wrapped

    owners: list[tuple[Any, str]] = [
        (FolderWriter, "file"), (FolderWriter, "_written"), (Indexes, "record"),
        (Indexes, "replace_version"), (batch_files.Files, "remove"),
    ]  # fmt: skip
    with ExitStack() as stack:
        for owner, name in owners:
            stack.enter_context(patch.object(owner, name, counted(getattr(owner, name))))
        try:
            what()
        except Killed:
            return True
    return False


def test_killed_anywhere_it_serves_and_the_next_run_mends_it(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_files, "PRUNED_AFTER", timedelta(0))
    names = iter(f"20261123T{number:06}-abcdef" for number in range(10_000))
    monkeypatch.setattr(versions, "version_name", lambda: next(names))
    engine = stored.engine(exact_below=0)
    engine.reconcile(silent)
    draw = np.random.default_rng(4)
    kills = {"reconcile": 0, "merge": 0}
    for kind in kills:
        for number in range(1, 100):
            old = engine.serve().version
            stored.put(
                [(int(at), VECTORS[draw.integers(2_000)]) for at in draw.integers(0, COUNT, 60)]
            )
            if kind == "merge":
                engine.reconcile(silent)
            work = getattr(engine, kind)
            dead = killed_at(number, lambda work=work: work(silent))
            versions.forget()
            served = engine.serve()  # whole, old or new
            assert len(served) == COUNT
            assert served.nearest(VECTORS[0], Query(limit=3, exact=True))
            assert len(old) == COUNT
            report = engine.reconcile(silent)
            assert report.indexed == COUNT
            agree(stored, engine)
            if report.merge_due:
                assert engine.merge(silent)
            if not dead:
                break
            kills[kind] = number
    assert kills["reconcile"] >= 10
    assert kills["merge"] >= 10


def test_an_index_of_format_2_serves_until_it_is_built_again(stored: Stored) -> None:
    if isinstance(stored.folder, str):
        pytest.skip("its files are moved about on a disk")
    engine = stored.engine()
    engine.reconcile(silent)
    wanted = ids(engine)
    as_format_2(stored, engine)
    versions.forget()
    assert ids(engine) == wanted
    assert not engine.reconcile(silent).changed
    stored.put([(7, VECTORS[1_000])])
    report = engine.reconcile(silent)
    assert report.details["vectors read"] == COUNT
    assert ids(engine, 1_000)[0] == 7
    agree(stored, engine)


def as_format_2(stored: Stored, engine: Any) -> None:
    """What a version was before there were segments: a folder with all of it."""
    index = Path(engine._versions.folder)
    (segment,) = segments(engine)
    name = engine.serve().entry.version
    shutil.rmtree(index / name)
    shutil.move(segment.folder, index / name)
    folder = index / name
    manifest = json.loads((folder / "segment.json").read_text())
    del manifest["files"]["signatures.npy"]
    (folder / "segment.json").unlink()
    (folder / "index.json").write_text(json.dumps({**manifest, "format": 2}))
