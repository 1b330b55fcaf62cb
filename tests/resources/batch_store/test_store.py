import dataclasses
import os
import sys
from datetime import UTC, datetime

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from fsspec.registry import _registry

from resources.batch_store.files import version_name
from resources.batch_store.store import BatchStore, EmbeddingBatch
from resources.core.errors import BatchStoreError
from resources.core.lineage import Lineage
from resources.core.space import EmbeddingSpace

SPACE = EmbeddingSpace("voyage", "voyage-4", "", 4, "", normalized=True)
AT = datetime(2026, 11, 23, 4, 5, 6, 789000, tzinfo=UTC)


def batch(name: str = "b1", rows: int = 3) -> EmbeddingBatch:
    return EmbeddingBatch(
        id=name,
        space=SPACE,
        chunk_ids=[f'"c{n}"' for n in range(rows)],
        vectors=np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32),
        tokens=np.array([5, -1, 7][:rows], np.int32),
        lineage=[Lineage(SPACE.id, "voyage-4-lite", f"h{n}", name, "r1", AT) for n in range(rows)],
        details={"versions": {"voyageai": "0.5.0"}},
    )


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path) -> BatchStore:
    if request.param == "folder":
        return BatchStore(str(tmp_path / "store"))
    return BatchStore(f"memory://{tmp_path.name}")


def test_a_batch_comes_back_as_it_was(store):
    written = batch()
    assert not store.has_batch(SPACE.id, "b1")
    assert store.write_batch(written) > 0
    assert store.has_batch(SPACE.id, "b1")
    read = store.read_batch(SPACE.id, "b1")
    assert np.array_equal(read.vectors, written.vectors)
    assert (read.space, read.chunk_ids, read.details) == (
        SPACE, written.chunk_ids, written.details,
    )  # fmt: skip
    assert read.lineage == written.lineage
    assert read.tokens.tolist() == [5, -1, 7]
    assert read.rows_by_text() == {"h0": 0, "h1": 1, "h2": 2}


def test_an_empty_batch_is_a_batch(store):
    store.write_batch(batch(rows=0))
    assert store.read_batch(SPACE.id, "b1").vectors.shape == (0, 4)


def test_other_readers_understand_the_file(tmp_path):
    store = BatchStore(str(tmp_path))
    store.write_batch(batch())
    table = pq.read_table(tmp_path / "batches" / SPACE.id / "b1.parquet")
    assert table.column_names[:4] == ["chunk_id", "text_hash", "vector", "tokens"]
    assert table["tokens"].to_pylist() == [5, None, 7]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[4]"


def test_texts_are_listed_by_batch(store):
    assert list(store.texts_by_batch(SPACE.id)) == []
    store.write_batch(batch("b2", rows=1))
    store.write_batch(batch("b1"))
    assert list(store.texts_by_batch(SPACE.id)) == [("b1", ["h0", "h1", "h2"]), ("b2", ["h0"])]


def test_texts_of_batches_that_no_listing_has_yet_are_read_by_name(store, monkeypatch):
    store.write_batch(batch("b1"))
    monkeypatch.setattr(store, "batches", lambda space_id: [])
    found = list(store.texts_by_batch(SPACE.id, lately=lambda: ["b1", "gone"]))
    assert found == [("b1", ["h0", "h1", "h2"]), ("gone", [])]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_torn_batch_is_seen(tmp_path, damage):
    store = BatchStore(str(tmp_path))
    store.write_batch(batch())
    file = tmp_path / "batches" / SPACE.id / "b1.parquet"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[40] ^= 0xFF
    else:
        data = bytearray()
    file.write_bytes(data)
    with pytest.raises(BatchStoreError, match="is damaged"):
        store.read_batch(SPACE.id, "b1")


def test_a_missing_batch_is_named(store):
    with pytest.raises(BatchStoreError, match=r"b1\.parquet is missing"):
        store.read_batch(SPACE.id, "b1")


def test_no_plan_yet_says_what_to_materialize(store):
    with pytest.raises(BatchStoreError, match="materialize films/source_documents first"):
        store.plans.newest("films")


def test_old_plans_go_and_young_ones_stay(store):
    # a young one may still be carried out by another run
    plans = ["20260101T000000-aaaaaa", "20260102T000000-bbbbbb", version_name(), version_name()]
    for name in plans:
        store.plans.finish("films", name, {"id": name}, run=f"run-{name}")
        store.plans.tidy("films", lambda run: True)
    assert store.plans.newest("films") == {"id": plans[-1]}
    filesystem, root = fsspec.core.url_to_fs(store.url)
    folders = [path.rsplit("/", 1)[-1] for path in filesystem.ls(f"{root}/plans/films", False)]
    assert sorted(folders) == sorted([*plans[2:], "current.json", "pins"])


@pytest.mark.parametrize("url", ["nowhere://bucket/x", "s3://bucket/x"])
def test_a_file_system_that_is_not_installed_is_one_sentence(url, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # if it was used before
    with pytest.raises(BatchStoreError, match=f"`url: {url}`, which cannot be opened"):
        BatchStore(url)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BatchStoreError, match="cannot be written"):
        BatchStore(str(tmp_path / "file")).write_batch(batch())


def test_what_killed_runs_half_wrote_goes_in_time(tmp_path):
    store = BatchStore(str(tmp_path))
    folder = tmp_path / "batches" / SPACE.id
    folder.mkdir(parents=True)
    old, young = folder / "b1.parquet.0a1b2c3d.tmp", folder / "b2.parquet.0a1b2c3d.tmp"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.plans.finish("films", "20260101T000000-abcdef", {}, run="run-1")
    store.plans.tidy("films")
    assert not old.exists()
    assert young.exists(), "another run may be writing it"


def test_texts_that_were_cut_can_be_left_out(tmp_path):
    store, made = BatchStore(str(tmp_path)), batch()
    made.lineage[1] = dataclasses.replace(made.lineage[1], cut=True)
    store.write_batch(made)
    assert store.read_batch(SPACE.id, "b1").lineage == made.lineage
    assert store.whole_texts(SPACE.id, "b1") == store.texts(SPACE.id, "b1") == ["h0", "h1", "h2"]
    assert store.whole_texts(SPACE.id, "b1", cut=False) == ["h0", "h2"]
    assert list(store.texts_by_batch(SPACE.id, cut=False)) == [("b1", ["h0", "h2"])]
    assert list(made.rows_by_text(cut=False)) == ["h0", "h2"]


def test_files_from_before_cut_texts_were_marked_are_read(tmp_path):
    store = BatchStore(str(tmp_path))
    store.write_batch(batch())
    file = tmp_path / "batches" / SPACE.id / "b1.parquet"
    pq.write_table(pq.read_table(file).drop_columns("cut"), file, write_page_checksum=True)
    assert not any(made.cut for made in store.read_batch(SPACE.id, "b1").lineage)
    assert list(store.texts_by_batch(SPACE.id, cut=False)) == [("b1", ["h0", "h1", "h2"])]
    assert store.whole_texts(SPACE.id, "b1", cut=False) == ["h0", "h1", "h2"]
