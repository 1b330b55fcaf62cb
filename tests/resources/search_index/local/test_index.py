import json
from collections.abc import Mapping
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
from resources.search_index.local import faiss_index
from resources.search_index.local.builder import LocalIndexBuilder
from resources.search_index.local.files import load_index, save_index
from resources.search_index.local.index import LocalIndex
from resources.search_index.query import Hit, Query

SIMILARITIES = ["cosine", "dotProduct", "euclidean"]


def clustered(count: int, dimensions: int, seed: int) -> np.ndarray:
    centres = np.random.default_rng(0).standard_normal((200, dimensions))
    random = np.random.default_rng(seed)
    found = centres[random.integers(0, 200, count)]
    found = found + 0.7 * random.standard_normal((count, dimensions))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def build(
    vectors: Any,
    *,
    ids: list | None = None,
    fields: list[Mapping[str, Any]] | None = None,
    paths: tuple[str, ...] = (),
    similarity: Any = "cosine",
    batch: int = 1000,
    **settings: Any,
) -> LocalIndex:
    vectors = np.asarray(vectors, np.float32)
    builder = LocalIndexBuilder(
        dimensions=vectors.shape[1], similarity=similarity, filter_paths=paths, **settings
    )
    ids = list(range(len(vectors))) if ids is None else ids
    fields = [{}] * len(ids) if fields is None else fields
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        builder.add(ids[part], vectors[part], fields[part])
    return builder.finish()


def scores(vectors: np.ndarray, query: np.ndarray, similarity: str) -> np.ndarray:
    """MongoDB's, in float64 from the formulas."""
    wide, asked = vectors.astype(np.float64), query.astype(np.float64)
    if similarity == "euclidean":
        return 1 / (1 + ((wide - asked) ** 2).sum(axis=1))
    dots = wide @ asked
    if similarity == "cosine":
        dots /= np.linalg.norm(wide, axis=1) * np.linalg.norm(asked)
    return np.maximum((1 + dots) / 2, 0)


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return clustered(30_000, 32, seed=1)


@pytest.fixture(scope="module")
def labels(many: np.ndarray) -> list[Mapping[str, Any]]:
    random = np.random.default_rng(2)
    far = many[:, 0] < np.median(many[:, 0])
    return [
        {"share": share, "far": flag}
        for share, flag in zip(random.random(30_000).tolist(), far.tolist(), strict=True)
    ]


def build_graph(vectors: np.ndarray, labels: list, similarity: str) -> LocalIndex:
    index = build(
        vectors, fields=labels, paths=("share", "far"), similarity=similarity, exact_below=10_000
    )
    assert not faiss_index.is_flat(index.faiss_index)
    return index


@pytest.fixture(scope="module")
def cosine_graph(many: np.ndarray, labels: list) -> LocalIndex:
    return build_graph(many, labels, "cosine")


@pytest.fixture(scope="module", params=SIMILARITIES)
def graph(
    request: pytest.FixtureRequest, many: np.ndarray, labels: list, cosine_graph: LocalIndex
) -> LocalIndex:
    if request.param == "euclidean":
        return build_graph(many, labels, "euclidean")
    # Of vectors of unit length, FAISS builds the same graph for both: once is enough.
    columns = list(cosine_graph.columns.values())
    return LocalIndex(cosine_graph.faiss_index, request.param, cosine_graph.ids, columns)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("share", [None, 0.3])
def test_a_flat_index_is_exact(similarity: str, share: float | None) -> None:
    random = np.random.default_rng(3)
    # not of unit length: some dot products are below -1, whose score is clamped
    vectors = (random.standard_normal((3000, 48)) * 0.4).astype(np.float32)
    fields = [{"share": value} for value in random.random(3000).tolist()]
    index = build(vectors, fields=fields, paths=("share",), similarity=similarity)
    passing = np.array([share is None or field["share"] < share for field in fields])
    for query in (random.standard_normal((20, 48)) * 0.4).astype(np.float32):
        expected = np.where(passing, scores(vectors, query, similarity), -1)
        best = np.argsort(-expected, kind="stable")[:25]
        hits = index.search(
            query, Query(limit=25, filter=None if share is None else {"share": {"$lt": share}})
        )
        assert [hit.id for hit in hits] == best.tolist()
        assert [hit.score for hit in hits] == pytest.approx(expected[best].tolist(), abs=2e-7)


def test_scores_by_hand() -> None:
    vectors = [[3, 4], [-6, -8], [4, -3]]
    found = {
        similarity: {hit.id: hit.score for hit in build(vectors, similarity=similarity).search(
            [3, 4], Query(limit=3))}
        for similarity in SIMILARITIES
    }  # fmt: skip
    assert found["cosine"] == pytest.approx({0: 1, 1: 0, 2: 0.5})
    assert found["dotProduct"] == pytest.approx({0: 13, 1: 0, 2: 0.5})
    assert found["euclidean"] == pytest.approx({0: 1, 1: 1 / 226, 2: 1 / 51})


@pytest.mark.parametrize("share", [None, 0.9, 0.5, 0.2, 0.05, 0.005, 0.0002])
def test_recall_of_the_graph(
    graph: LocalIndex, many: np.ndarray, labels: list, share: float | None
) -> None:
    passing = np.array([share is None or label["share"] < share for label in labels])
    condition = None if share is None else {"share": {"$lt": share}}
    size = min(10, int(passing.sum()))
    found = 0
    queries = clustered(20, 32, seed=4)
    for query in queries:
        expected = np.where(passing, scores(many, query, graph.similarity), -1)
        best = np.argsort(-expected)[:size].tolist()
        hits = graph.search(query, Query(limit=10, filter=condition))
        assert len(hits) == size
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(passing[hit.id] for hit in hits)
        assert [hit.score for hit in hits] == pytest.approx(
            [expected[hit.id] for hit in hits], abs=2e-7
        )
        found += len({hit.id for hit in hits} & set(best))
        exact = graph.search(query, Query(limit=10, filter=condition, exact=True))
        assert [hit.score for hit in exact] == pytest.approx(expected[best].tolist(), abs=2e-7)
    assert found / (size * len(queries)) >= 0.95


def test_recall_where_the_filter_keeps_what_is_far_from_the_query(
    cosine_graph: LocalIndex, many: np.ndarray, labels: list
) -> None:
    # half of the documents pass, none of them near the query
    side = np.array([label["far"] for label in labels])
    found = 0
    queries = [query for query in clustered(300, 32, seed=5) if query[0] > 0.2][:20]
    for query in queries:
        expected = np.where(side, scores(many, query, "cosine"), -1)
        hits = cosine_graph.search(query, Query(limit=10, filter={"far": True}))
        assert len(hits) == 10
        found += len({hit.id for hit in hits} & set(np.argsort(-expected)[:10].tolist()))
    assert found / (10 * len(queries)) >= 0.95


def test_too_few_from_the_graph_means_comparing_with_all(
    graph: LocalIndex, many: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def nothing(*args: Any, **more: Any) -> np.ndarray:
        asked.append(args)
        return np.empty(0, np.int64)

    monkeypatch.setattr(faiss_index, "search_graph", nothing)
    condition = {"share": {"$lt": 0.9}}
    hits = graph.search(many[0], Query(limit=10, filter=condition))
    assert asked
    assert hits == graph.search(many[0], Query(limit=10, filter=condition, exact=True))
    assert len(hits) == 10


@pytest.mark.parametrize("expected", [None, 3000, 10])
def test_the_kind_of_index_follows_the_real_count(expected: int | None) -> None:
    vectors = clustered(2500, 16, seed=6)
    flat = build(vectors, exact_below=2500, expected=expected)
    graph = build(vectors, exact_below=2499, expected=expected)
    assert faiss_index.is_flat(flat.faiss_index)
    assert not faiss_index.is_flat(graph.faiss_index)
    for index in (flat, graph):
        assert len(index) == 2500
        hits = index.search(vectors[7], Query(limit=3, exact=True))
        assert hits == flat.search(vectors[7], Query(limit=3))
        assert hits[0] == Hit(7, pytest.approx(1.0))


def test_equal_scores_keep_the_order_of_adding() -> None:
    vectors = np.tile(clustered(3, 50, seed=7), (2000, 1))
    ids = [f"{row:05}" for row in np.random.default_rng(8).permutation(6000)]
    for similarity in SIMILARITIES:
        index = build(vectors, ids=ids, similarity=similarity)
        for limit in (1, 5, 1999, 2003):
            hits = index.search(vectors[0], Query(limit=limit))
            assert [hit.id for hit in hits[:2000]] == ids[::3][:limit]
            assert len({hit.score for hit in hits[:2000]}) == 1


def test_limits() -> None:
    index = build(clustered(30, 8, seed=9))
    query = clustered(1, 8, seed=10)[0]
    assert [len(index.search(query, Query(limit))) for limit in (30, 100)] == [30, 30]
    assert index.search(query, Query(limit=100))[:1] == index.search(query.tolist(), Query(limit=1))


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
    save_index(index, folder)
    loaded = load_index(folder)
    assert (len(loaded), loaded.dimensions, loaded.similarity) == (len(IDS), 8, similarity)
    assert tuple(loaded.columns) == paths
    for condition in [None, {}, *FILTERS]:
        before = index.search(vectors[0], Query(limit=20, filter=condition))
        after = loaded.search(vectors[0], Query(limit=20, filter=condition))
        assert before == after
        assert before
        assert [type(hit.id) for hit in before] == [type(hit.id) for hit in after]
    files, root = fsspec.core.url_to_fs(folder)
    assert sorted(Path(name).name for name in files.ls(root, detail=False)) == [
        "fields.npz",
        "ids.bson",
        "index.faiss",
        "index.json",
    ]


@pytest.mark.parametrize("url", ["local", "memory://indexes/graph"])
def test_a_graph_saved_and_loaded(
    graph: LocalIndex, many: np.ndarray, url: str, tmp_path: Path
) -> None:
    folder = str(tmp_path) if url == "local" else url
    save_index(graph, folder)
    loaded = load_index(folder)
    assert not faiss_index.is_flat(loaded.faiss_index)
    for exact in (False, True):
        for condition in (None, {"share": {"$gt": 0.4}}):
            asked = Query(limit=10, exact=exact, filter=condition)
            assert loaded.search(many[3], asked) == graph.search(many[3], asked)


def test_a_reader_keeps_its_index_while_another_takes_its_place(tmp_path: Path) -> None:
    vectors = clustered(5000, 32, seed=12)
    save_index(build(vectors), str(tmp_path))
    reader = load_index(str(tmp_path))
    before = reader.search(vectors[4999], Query(limit=5))
    save_index(build(vectors[:10]), str(tmp_path))
    assert reader.search(vectors[4999], Query(limit=5)) == before
    assert len(load_index(str(tmp_path))) == 10


def test_an_empty_index(tmp_path: Path) -> None:
    index = LocalIndexBuilder(dimensions=4, similarity="cosine", filter_paths=["a"]).finish()
    save_index(index, str(tmp_path))
    for each in (index, load_index(str(tmp_path))):
        assert len(each) == 0
        assert each.search([1, 0, 0, 0], Query(limit=5)) == []
        assert each.search([1, 0, 0, 0], Query(limit=5, filter={"a": {"$ne": 1}}, exact=True)) == []
        with pytest.raises(QueryRefused):
            each.search([1, 0, 0], Query(limit=5))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    fields = [{"a": i} for i in range(20)]
    index = build(clustered(20, 8, seed=13), fields=fields, paths=("a",))
    save_index(index, str(tmp_path))
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(SearchIndexError) as caught:
        load_index(str(folder))
    message = str(caught.value)
    assert message.endswith(": materialize search_index again")
    assert str(folder) in message
    return message


FILES = ["index.json", "index.faiss", "ids.bson", "fields.npz"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert f"lacks {name}" in refused(saved)


def test_a_missing_file_of_an_object_store() -> None:
    save_index(build(clustered(20, 8, seed=13)), "memory://indexes/missing")
    fsspec.filesystem("memory").rm("/indexes/missing/ids.bson")
    with pytest.raises(SearchIndexError, match=r"lacks ids\.bson: materialize"):
        load_index("memory://indexes/missing")
    with pytest.raises(SearchIndexError, match=r"lacks index\.json: materialize"):
        load_index("memory://indexes/never")


@pytest.mark.parametrize("name", FILES)
def test_a_torn_file(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    refused(saved)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_changed_byte(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    assert f"holds a torn or foreign {name}" in refused(saved)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 1, "is of format 1, not 2"),
        ("vectors", 21, "does not hold the 21 vectors"),
        ("dimensions", 9, "other dimensions or another similarity"),
        ("similarity", "euclidean", "other dimensions or another similarity"),
        ("filter_paths", ["a", "b"], "cannot be read"),
        ("filter_paths", [], "cannot be read"),
        ("files", {}, "cannot be read"),
    ],
)
def test_a_manifest_of_something_else(saved: Path, key: str, value: Any, message: str) -> None:
    manifest = json.loads((saved / "index.json").read_text())
    (saved / "index.json").write_text(json.dumps({**manifest, key: value}))
    assert message in refused(saved)


def test_a_save_that_breaks_off_leaves_no_index(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        save_index(load_index(str(saved)), str(saved))
    assert "lacks index.json" in refused(saved)


@pytest.mark.parametrize(
    ("similarity", "vector", "message"),
    [
        ("cosine", [1, 2, 3], "vector of 'second' has 3 dimensions, the index 2"),
        ("cosine", [1, np.nan], "vector of 'second' holds NaN or infinity"),
        ("euclidean", [np.inf, 1], "vector of 'second' holds NaN or infinity"),
        ("euclidean", [1e39, 1], "vector of 'second' holds NaN or infinity"),
        ("cosine", [0, 0], "vector of 'second' is all zeros"),
    ],
)
def test_vectors_that_mongodb_would_skip(similarity: Any, vector: list, message: str) -> None:
    builder = LocalIndexBuilder(dimensions=2, similarity=similarity, filter_paths=["a"])
    builder.add(["first"], np.ones((1, 2), np.float32), [{"a": 1}])
    vectors = np.array([vector], np.float64)
    ids = ["second"]
    if len(vector) == 2:
        vectors, ids = np.vstack([[[1, 1]], vectors]), ["good", "second"]
    with pytest.raises(SearchIndexError, match=message):
        builder.add(ids, vectors, [{"a": 1}] * len(ids))
    # nothing of the batch is left behind
    assert [hit.id for hit in builder.finish().search([1, 1], Query(limit=5))] == ["first"]


def test_zero_vectors_have_a_dot_product_and_a_distance() -> None:
    for similarity in ("dotProduct", "euclidean"):
        index = build([[0, 0], [1, 0]], similarity=similarity)
        assert len(index.search([0, 0], Query(limit=2))) == 2


def test_tiny_vectors_have_a_direction() -> None:
    index = build([[1e-30, 0], [0, 1e-30]])
    assert index.search([1e-35, 0], Query(limit=1)) == [Hit(0, 1.0)]


def test_batches_that_do_not_fit_together() -> None:
    builder = LocalIndexBuilder(dimensions=2, similarity="cosine", filter_paths=[])
    with pytest.raises(SearchIndexError, match="2 ids, 1 vectors and 1 documents"):
        builder.add([1, 2], np.ones((1, 2), np.float32), [{}])
    with pytest.raises(SearchIndexError, match="no dimensions"):
        builder.add([1, 2], np.ones(2, np.float32), [{}, {}])
    with pytest.raises(SearchIndexError, match="unknown similarity 'dot'; allowed are cosine"):
        LocalIndexBuilder(dimensions=2, similarity="dot", filter_paths=[])  # type: ignore[arg-type]
    builder.add([], np.empty((0, 2), np.float32), [])
    assert len(builder.finish()) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vector": [1, 2, 3]}, "index has 2 dimensions, the query 3"),
        ({"vector": [[1, 2]]}, r"index has 2 dimensions, the query the shape \(1, 2\)"),
        ({"vector": ["x", "y"]}, "not a vector of numbers"),
        ({"vector": [np.nan, 1]}, "NaN or infinity"),
        ({"vector": [1e39, 1]}, "NaN or infinity"),
        ({"vector": [0, 0]}, "all zeros"),
        ({"limit": 0}, "at least one, not 0"),
        ({"limit": 1.5}, "at least one, not 1.5"),
        ({"limit": True}, "at least one, not True"),
        ({"limit": 10_001}, "above 10000"),
        ({"num_candidates": 4}, "from the limit, 5, to 10000, not 4"),
        ({"num_candidates": 10_001}, "not 10001"),
        ({"exact": True, "num_candidates": 10}, "leave num_candidates out"),
        ({"filter": {"b": 1}}, "names 'b', which is not a filter field"),
    ],
)
def test_queries_refused(arguments: dict[str, Any], message: str) -> None:
    index = build([[1, 0], [0, 1]], fields=[{"a": 1}, {"a": 2}], paths=("a",))
    options = {"limit": 5, **arguments}
    vector = options.pop("vector", [1, 1])
    with pytest.raises(QueryRefused, match=message):
        index.search(vector, Query(**options))


def test_an_exact_search_may_return_everything() -> None:
    index = build(clustered(11_000, 4, seed=14))
    assert len(index.search([1, 0, 0, 0], Query(limit=20_000, exact=True))) == 11_000
