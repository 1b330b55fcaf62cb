import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import fsspec
import numpy as np
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from resources.core.errors import QueryRefused, SearchIndexError
from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.saved_version import open_version, save_version, segments_of
from resources.search_index.local.shape import IndexShape
from resources.search_index.query import Query
from tests.resources.search_index.local.building import (
    SIMILARITIES,
    build,
    clustered,
    is_flat,
    load,
    save,
    version_of,
)

PARTS = ["index.faiss", "ids.bson", "fields.npz", "signatures.npy"]
FILES = [
    "v/index.json",
    "v/deleted.npz",
    "segments/s/segment.json",
    *(f"segments/s/{name}" for name in PARTS),
]

IDS = [
    "text",
    "",
    5,
    Int64(5),
    Int64(2**40),
    1.5,
    True,
    None,
    ObjectId(),
    UUID(int=9),
    Binary(b"raw", 128),
    Decimal128("1.10"),
    datetime(2026, 11, 23, 1, 2, 3, 4000),
    DatetimeMS(-(2**60)),
    {"b": 1, "a": [ObjectId(), "x"]},
]
FIELDS = [
    {"tag": ["a", "b"], "n": {"size": i}, "when": datetime(2026, 1, 1 + i), "owner": UUID(int=i)}
    for i in range(len(IDS) - 2)
] + [{}, {"tag": None, "n": {"size": Int64(2**60 + 1)}}]
FILTERS: list[dict[str, Any]] = [
    {"tag": "b"},
    {"tag": None},
    {"n.size": {"$gt": 3, "$lt": 7}},
    {"n.size": {"$gt": 2**60}},
    {"when": {"$lte": datetime(2026, 1, 4)}},
    {"owner": {"$in": [UUID(int=3), UUID(int=4)]}},
    {"owner": {"$exists": False}},
]


@pytest.mark.parametrize("url", ["local", "memory://indexes/saved"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_saved_and_loaded(url: str, similarity: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "deep" / "index") if url == "local" else url
    vectors = clustered(len(IDS), 8, seed=11)
    paths = ("tag", "n.size", "when", "owner")
    index = build(vectors, ids=IDS, fields=FIELDS, paths=paths, similarity=similarity)
    save(index, folder)
    loaded = load(folder)
    assert len(loaded) == len(IDS)
    assert loaded.shape == index.shape
    assert (loaded.segments[0].signatures == index.segments[0].signatures).all()
    for condition in [None, {}, *FILTERS]:
        before = index.search(vectors[0], Query(limit=20, filter=condition))
        after = loaded.search(vectors[0], Query(limit=20, filter=condition))
        assert before == after
        assert before
        assert [type(hit.id) for hit in before] == [type(hit.id) for hit in after]
    files, root = fsspec.core.url_to_fs(folder)
    found = sorted(str(name).split(f"{root.strip('/')}/")[-1] for name in files.find(root))
    assert found == sorted(FILES)
    assert segments_of(folder, "v") == ["s"]
    assert segments_of(folder, "never") == []


@pytest.mark.parametrize("url", ["local", "memory://indexes/graph"])
def test_a_graph_saved_and_loaded(url: str, tmp_path: Path) -> None:
    vectors = clustered(6_000, 16, seed=1)
    fields = [{"share": share} for share in np.random.default_rng(2).random(6_000).tolist()]
    graph = build(vectors, fields=fields, paths=("share",), exact_below=100)
    folder = str(tmp_path) if url == "local" else url
    save(graph, folder)
    loaded = load(folder)
    assert not is_flat(loaded)
    for exact in (False, True):
        for condition in (None, {"share": {"$gt": 0.4}}):
            asked = Query(limit=10, exact=exact, filter=condition)
            assert loaded.search(vectors[3], asked) == graph.search(vectors[3], asked)


def test_a_reader_keeps_its_index_while_its_files_are_removed(tmp_path: Path) -> None:
    vectors = clustered(5000, 32, seed=12)
    save(build(vectors), str(tmp_path))
    reader = load(str(tmp_path))
    before = reader.search(vectors[4999], Query(limit=5))
    shutil.rmtree(tmp_path)
    assert reader.search(vectors[4999], Query(limit=5)) == before


def test_versions_share_a_segment_that_is_open(tmp_path: Path) -> None:
    vectors = clustered(50, 8, seed=12)
    save(build(vectors), str(tmp_path))
    one = load(str(tmp_path))
    gone = np.arange(50) == 7
    save_version(str(tmp_path), "w", one.shape, [("s", 50)], [gone])
    other = open_version(str(tmp_path), "w")
    assert other.segments[0] is one.segments[0]
    assert (len(one), len(other)) == (50, 49)
    assert one.search(vectors[7], Query(limit=1))[0].id == 7
    assert other.search(vectors[7], Query(limit=1))[0].id != 7


def test_an_empty_index(tmp_path: Path) -> None:
    shape = IndexShape(4, "cosine", ("a",))
    index = version_of(shape, SegmentBuilder(shape))
    save(index, str(tmp_path))
    save_version(str(tmp_path), "bare", shape, [], [])
    for each in (index, load(str(tmp_path)), open_version(str(tmp_path), "bare")):
        assert len(each) == 0
        assert each.search([1, 0, 0, 0], Query(limit=5)) == []
        assert each.search([1, 0, 0, 0], Query(limit=5, filter={"a": {"$ne": 1}}, exact=True)) == []
        with pytest.raises(QueryRefused):
            each.search([1, 0, 0], Query(limit=5))
        with pytest.raises(QueryRefused):
            each.search([1, 0, 0, 0], Query(limit=5, filter={"b": 1}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    fields = [{"a": i} for i in range(20)]
    index = build(clustered(20, 8, seed=13), fields=fields, paths=("a",))
    save(index, str(tmp_path))
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(SearchIndexError) as caught:
        load(str(folder))
    message = str(caught.value)
    assert message.endswith(": materialize search_index again")
    assert str(folder) in message
    return message


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert f"lacks {Path(name).name}" in refused(saved)


def test_a_missing_file_of_an_object_store() -> None:
    save(build(clustered(20, 8, seed=13)), "memory://indexes/missing")
    fsspec.filesystem("memory").rm("/indexes/missing/segments/s/ids.bson")
    with pytest.raises(SearchIndexError, match=r"lacks ids\.bson: materialize"):
        load("memory://indexes/missing")
    with pytest.raises(SearchIndexError, match=r"lacks index\.json: materialize"):
        load("memory://indexes/never")


@pytest.mark.parametrize("name", FILES)
def test_a_torn_file(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    refused(saved)


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("json")])
def test_a_changed_byte(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    assert f"holds a torn or foreign {Path(name).name}" in refused(saved)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("segment", "format", 1, "is of format 1, not 3"),
        ("segment", "vectors", 21, "does not hold the 21 vectors"),
        ("segment", "dimensions", 9, "other dimensions or another similarity"),
        ("segment", "similarity", "euclidean", "other dimensions or another similarity"),
        ("segment", "filter_paths", ["a", "b"], "cannot be read"),
        ("segment", "filter_paths", [], "cannot be read"),
        ("segment", "files", {}, "cannot be read"),
        ("index", "format", 1, "is of format 1, not 3"),
        ("index", "vectors", 21, "does not hold the 21 vectors"),
        ("index", "shape", {"dimensions": 9}, "cannot be read"),
        ("index", "segments", [{"name": "s", "rows": 21}], "has a segment s that is not"),
        ("index", "segments", [{"name": "t", "rows": 20}], "lacks segment.json"),
        ("index", "segments", {}, "does not hold the 20 vectors"),
        ("index", "files", {}, "cannot be read"),
    ],
)
def test_a_manifest_of_something_else(
    saved: Path, name: str, key: str, value: Any, message: str
) -> None:
    file = saved / {"segment": "segments/s/segment.json", "index": "v/index.json"}[name]
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, key: value}))
    assert message in refused(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dimensions": 9}, "other dimensions or another similarity"),
        ({"similarity": "euclidean"}, "other dimensions or another similarity"),
        ({"similarity": "near"}, "unknown similarity"),
        ({"filter_paths": ["b"]}, "has a segment s that is not"),
    ],
)
def test_a_version_of_another_shape(saved: Path, change: dict[str, Any], message: str) -> None:
    file = saved / "v/index.json"
    manifest = json.loads(file.read_text())
    manifest["shape"] |= change
    file.write_text(json.dumps(manifest))
    with pytest.raises(SearchIndexError, match=message):
        load(str(saved))


def test_a_save_that_breaks_off_leaves_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        save(build(clustered(20, 8, seed=13)), str(tmp_path))
    assert not list(tmp_path.rglob("*.json"))
    assert "lacks index.json" in refused(tmp_path)


def test_an_index_of_format_2_is_read(tmp_path: Path) -> None:
    vectors = clustered(20, 8, seed=13)
    index = build(vectors, fields=[{"a": i} for i in range(20)], paths=("a",))
    save(index, str(tmp_path))
    folder = tmp_path / "20261101T000000-abcdef"
    shutil.copytree(tmp_path / "segments" / "s", folder)
    manifest = json.loads((folder / "segment.json").read_text())
    (folder / "segment.json").unlink()
    (folder / "signatures.npy").unlink()
    del manifest["files"]["signatures.npy"]
    (folder / "index.json").write_text(json.dumps({**manifest, "format": 2}))
    found = open_version(str(tmp_path), folder.name)
    asked = Query(limit=5, filter={"a": {"$gt": 3}})
    assert found.search(vectors[0], asked) == index.search(vectors[0], asked)
    assert not found.segments[0].signatures.any()  # so all of it counts as out of date
    assert segments_of(str(tmp_path), folder.name) == []
    (folder / "ids.bson").write_bytes(b"torn")
    with pytest.raises(SearchIndexError, match=r"torn or foreign ids\.bson"):
        open_version(str(tmp_path), folder.name)
