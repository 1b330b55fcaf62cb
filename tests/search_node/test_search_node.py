"""The stand-in answers the real driver as the documentation says; what it scripts, it does."""

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pymongo
import pytest
from bson.binary import Binary, BinaryVectorDtype
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, OperationFailure
from pymongo.operations import SearchIndexModel

from tests.search_node import SearchNode, search_node

VECTORS = np.eye(8, dtype=np.float32)


@pytest.fixture
def node(mongod_uri: str) -> Iterator[SearchNode]:
    with search_node(mongod_uri) as started:
        yield started


@pytest.fixture
def collection(node: SearchNode) -> Iterator[Collection]:
    client: pymongo.MongoClient = pymongo.MongoClient(node.uri, retryReads=False)
    database = client[f"test_{secrets.token_hex(6)}"]
    for number, vector in enumerate(VECTORS):
        database["films"].insert_one(
            {
                "_id": number,
                "v": Binary.from_vector(vector, BinaryVectorDtype.FLOAT32),
                "kind": "odd" if number % 2 else "even",
            }
        )
    yield database["films"]
    client.drop_database(database.name)
    client.close()


def field(**options: Any) -> dict[str, Any]:
    base = {"type": "vector", "path": "v", "numDimensions": 8, "similarity": "cosine"}
    return {**base, **options}


def create(collection: Collection, *filters: str, name: str = "index", **options: Any) -> str:
    fields = [field(**options), *({"type": "filter", "path": path} for path in filters)]
    model = SearchIndexModel({"fields": fields}, name=name, type="vectorSearch")
    created = collection.create_search_index(model)
    collection.list_search_indexes().to_list()
    return created


def find(collection: Collection, query: Any, *stages: Any, **options: Any) -> list[dict[str, Any]]:
    stage = {"index": "index", "path": "v", "queryVector": query, "limit": 3, **options}
    if not stage.get("exact"):
        stage.setdefault("numCandidates", 10)
    project = {"$project": {"score": {"$meta": "vectorSearchScore"}}}
    return collection.aggregate([{"$vectorSearch": stage}, *(stages or (project,))]).to_list()


def test_what_is_not_about_search_is_the_mongods(collection):
    assert collection.count_documents({"kind": "odd"}) == 4
    assert collection.aggregate([{"$match": {"_id": 3}}]).to_list()[0]["kind"] == "odd"
    with pytest.raises(OperationFailure, match="unknown top level operator"):
        collection.find_one({"$nonsense": 1})


def test_statuses_come_one_after_the_other(node, collection):
    node.build_polls = 2
    model = SearchIndexModel({"fields": [field()]}, name="index", type="vectorSearch")
    collection.create_search_index(model)
    assert find(collection, VECTORS[0].tolist()) == []  # not there yet, and no error
    seen = [collection.list_search_indexes("index").next() for _ in range(3)]
    assert [entry["status"] for entry in seen] == ["PENDING", "BUILDING", "READY"]
    assert [entry["queryable"] for entry in seen] == [False, False, True]
    assert seen[-1]["numDocs"] == 8
    collection.update_search_index("index", {"fields": [field(similarity="euclidean")]})
    (entry,) = collection.list_search_indexes("index")
    assert (entry["status"], entry["queryable"]) == ("PENDING", True)
    assert entry["latestDefinitionVersion"]["version"] == 1
    assert entry["statusDetail"][0]["mainIndex"]["definitionVersion"]["version"] == 0
    assert find(collection, VECTORS[0].tolist())[1]["score"] == pytest.approx(0.5)  # by cosine
    for _ in range(2):
        collection.list_search_indexes("index").to_list()
    assert find(collection, VECTORS[0].tolist())[1]["score"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numDimensions": 9000}, "numDimensions"),
        ({"similarity": "manhattan"}, "similarity"),
        ({"quantization": "ternary"}, "quantization"),
        ({"numDimensions": 12, "quantization": "binary"}, "multiple of 8"),
        ({"indexingMethod": "flat", "hnswOptions": {"maxEdges": 16}}, "hnswOptions"),
        ({"hnswOptions": {"maxEdges": 8}}, "maxEdges"),
        ({"colour": "red"}, "unrecognized field"),
    ],
)
def test_a_wrong_definition_is_refused(collection, options, message):
    with pytest.raises(OperationFailure, match=message):
        create(collection, **options)


def test_names_are_taken_once_and_collections_come_first(node, collection):
    create(collection)
    create(collection)  # the same again is accepted
    with pytest.raises(OperationFailure, match="already exists with a different definition"):
        create(collection, similarity="euclidean")
    with pytest.raises(OperationFailure) as caught:
        create(collection.database["nowhere"])
    assert caught.value.code == 26
    node.max_indexes = 1
    with pytest.raises(OperationFailure, match="maximum number of FTS indexes"):
        create(collection, name="another")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exact": True, "numCandidates": 10}, "must be omitted"),
        ({"numCandidates": 2}, "greater than or equal"),
        ({"numCandidates": 10_001}, "within bounds"),
        ({"limit": 0}, "positive"),
        ({"path": "other"}, "not indexed as vector"),
        ({"queryVector": [1.0, 2.0]}, "indexed with 8 dimensions but queried with 2"),
        ({"queryVector": [float("nan")] * 8}, "NaN"),
        ({"queryVector": [0.0] * 8}, "zero vector"),
        ({"filter": {"year": 1}}, "Path 'year' needs to be indexed as token"),
        ({"filter": {"kind": {"$regex": "o"}}}, "not supported"),
    ],
)
def test_a_wrong_search_is_refused(collection, options, message):
    create(collection, "kind")
    with pytest.raises(OperationFailure, match=message):
        find(collection, options.pop("queryVector", VECTORS[0].tolist()), **options)


def test_another_name_or_element_type_finds_nothing_and_says_nothing(collection):
    create(collection, similarity="euclidean")
    assert find(collection, VECTORS[0].tolist(), index="other") == []
    bits = Binary.from_vector([128], BinaryVectorDtype.PACKED_BIT)
    assert find(collection, bits) == []
    assert len(find(collection, VECTORS[0].tolist())) == 3  # doubles and float32 find each other


def test_what_cannot_be_indexed_is_left_out_in_silence(node, collection):
    collection.update_one({"_id": 0}, {"$set": {"v": [0.0] * 8}})
    collection.update_one({"_id": 1}, {"$set": {"v": [1.0] * 4}})
    collection.update_one({"_id": 2}, {"$set": {"v": "text"}})
    int8 = Binary.from_vector([1] * 8, BinaryVectorDtype.INT8)
    collection.update_one({"_id": 3}, {"$set": {"v": int8}})
    create(collection, quantization="scalar")
    (entry,) = collection.list_search_indexes()
    assert entry["numDocs"] == 8, "documents are counted, not vectors"
    node.lag = 1
    (entry,) = collection.list_search_indexes()
    assert entry["numDocs"] == 7
    assert {row["_id"] for row in find(collection, VECTORS[7].tolist())} == {4, 5, 6}


def test_filters_and_later_stages_are_the_mongods(collection):
    create(collection, "kind")
    rows = find(
        collection,
        VECTORS[1].tolist(),
        {"$set": {"score": {"$meta": "vectorSearchScore"}}},
        {"$match": {"score": {"$gt": 0.9}}},
        {"$project": {"v": 0}},
        filter={"kind": "odd"},
        exact=True,
    )
    assert rows == [{"_id": 1, "kind": "odd", "score": 1.0}]


def test_faults_come_when_they_are_asked_for(node, collection):
    create(collection)
    node.sever_next("$vectorSearch")
    with pytest.raises(AutoReconnect):
        find(collection, VECTORS[0].tolist())
    node.fail_next("$vectorSearch", 8, "UnknownError", "told to")
    with pytest.raises(OperationFailure, match="told to"):
        find(collection, VECTORS[0].tolist())
    assert len(find(collection, VECTORS[0].tolist())) == 3
    node.enabled = False
    with pytest.raises(OperationFailure) as caught:
        collection.list_search_indexes().to_list()
    assert caught.value.code == 31082
