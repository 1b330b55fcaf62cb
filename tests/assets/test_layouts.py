"""What we store, read by the frameworks' own classes, through the stand-in for search nodes."""

import json
import secrets
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson import Decimal128, ObjectId
from bson.binary import Binary

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.audit import audit, repair
from pipelines.operations.search import open_searcher
from resources.core.errors import ConfigurationError, QueryRefused
from tests.search_node import SearchNode, search_node
from tests.workshop import Workshop

COLOURS, THINGS = ("red", "green", "blue"), ("boat", "hat", "stone")
WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def documents() -> list[dict[str, Any]]:
    """Of every kind of value that BSON has and JSON has not."""
    pairs = [(colour, thing) for colour in COLOURS for thing in THINGS]
    return [
        {
            "_id": ObjectId(f"{number:024x}"),
            "text": f"{colour} {thing}",
            "kind": thing,
            "colour": colour,
            "year": 1990 + number,
            "seen": WHEN.replace(day=1 + number),
            "price": Decimal128(f"{number}.50"),
            "owner": ObjectId(f"{number + 100:024x}"),
            "token": Binary.from_uuid(uuid.UUID(int=number)),
            "place": {"country": "IE", "visits": [{"at": WHEN}, WHEN, ObjectId()]},
        }
        for number, (colour, thing) in enumerate(pairs)
    ]


CARRIED = ["kind", "colour", "year", "seen", "price", "owner", "token", "place"]


@pytest.fixture
def node(mongod_uri: str) -> Iterator[SearchNode]:
    with search_node(mongod_uri) as made:
        yield made


@pytest.fixture
def workshop(node: SearchNode, tmp_path: Path, static_model: str) -> Iterator[Workshop]:
    made = Workshop(tmp_path, node.uri, f"test_{secrets.token_hex(6)}", static_model)
    made.configure(
        {
            "source": {
                "origin": {"collection": {"database": made.database, "collection": "things"}},
                "carry": CARRIED,
            },
            "search_index": {
                "engine": "mongodb",
                "filter_fields": ["kind", "colour", "year", "seen"],
                "poll_seconds": 0.05,
            },
        }
    )
    made.client[made.database]["things"].insert_many(documents())
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def laid_out(workshop: Workshop, layout: str, **settings: Any) -> None:
    workshop.configure({"vector_store": {"layout": layout, **settings}})


def ran(workshop: Workshop) -> Any:
    run = workshop.run()
    assert run.success, run.failures
    assert all(run.checks.values()), run.checks
    return run


def embedded(workshop: Workshop, text: str) -> list[float]:
    with open_pipeline(workshop.pipeline) as opened, opened.embedder.open() as embedder:
        return embedder.embed([text], input_type="query").vectors[0].tolist()


class TestLangChain:
    @pytest.fixture
    def reader(self, workshop: Workshop) -> Any:
        """Their class over our collection, with its own defaults."""
        stores = pytest.importorskip("langchain_mongodb.vectorstores")
        from langchain_core.embeddings import Embeddings

        class Queries(Embeddings):
            def embed_query(self, text: str) -> list[float]:
                return embedded(workshop, text)

            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                raise AssertionError("nothing is embedded anew")

        laid_out(workshop, "langchain")
        ran(workshop)
        return stores.MongoDBAtlasVectorSearch(workshop.vectors, Queries())

    def test_similarity_search_with_filters_and_scores(self, workshop, reader):
        (found, score), *_ = reader.similarity_search_with_score("green hat", k=3)
        assert found.page_content == "green hat"
        assert score == pytest.approx(1.0, abs=1e-5)
        assert found.id == f"{4:024x}"
        kinds = {d.metadata["kind"] for d in reader.similarity_search(
            "green hat", k=9, pre_filter={"kind": {"$in": ["boat", "stone"]}}
        )}  # fmt: skip
        assert kinds == {"boat", "stone"}
        # a date is still a date for their filters
        late = reader.similarity_search(
            "hat", k=9, pre_filter={"seen": {"$gte": WHEN.replace(day=7)}}
        )
        assert {d.metadata["year"] for d in late} == {1996, 1997, 1998}
        one_space = {"embedding_lineage.space": workshop.search("hat").space.id}
        assert len(reader.similarity_search("hat", k=20, pre_filter=one_space)) == 9

    def test_metadata_is_json_and_carries_the_lineage(self, workshop, reader):
        found = reader.similarity_search("red stone", k=1)[0]
        metadata = json.loads(json.dumps(found.metadata))
        assert "embedding" not in metadata
        assert (metadata["price"], metadata["token"]) == (2.5, str(uuid.UUID(int=2)))
        assert metadata["place"]["visits"][0] == {"at": "2026-03-04T05:06:07"}
        stored = workshop.stored()[ObjectId(found.id)]["embedding_lineage"]
        lineage = metadata["embedding_lineage"]
        for name in ("model", "run", "batch", "space", "text_hash"):
            assert lineage[name] == stored[name]
        assert lineage["at"] == stored["at"].isoformat()

    def test_marginal_relevance_has_its_vectors(self, workshop, reader):
        near = [d.page_content for d in reader.similarity_search("green hat", k=4)]
        apart = reader.max_marginal_relevance_search("green hat", k=4, fetch_k=9, lambda_mult=0.1)
        assert apart[0].page_content == near[0]
        assert {d.page_content for d in apart} != set(near)
        filtered = reader.max_marginal_relevance_search("hat", k=3, pre_filter={"colour": "red"})
        assert {d.metadata["colour"] for d in filtered} == {"red"}
        assert all(isinstance(d.metadata["embedding"][0], float) for d in filtered)

    def test_as_a_retriever_and_by_id(self, reader):
        retriever = reader.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 5})
        assert retriever.invoke("blue stone")[0].page_content == "blue stone"
        (one,) = reader.get_by_ids([f"{4:024x}"])
        assert one.page_content == "green hat"

    def test_vectors_as_bson_are_what_their_marginal_relevance_fails_on(self, workshop, reader):
        """Why the layout implies arrays: were it to read them, this would say so."""
        laid_out(workshop, "plain", dtype="float32")
        ran(workshop)
        assert reader.similarity_search("green hat", k=1)[0].page_content == "green hat"
        with pytest.raises(ValueError, match="invalid literal"):
            reader.max_marginal_relevance_search("green hat", k=2)


class TestLlamaIndex:
    @pytest.fixture
    def reader(self, workshop: Workshop) -> Any:
        mongodb = pytest.importorskip("llama_index.vector_stores.mongodb")
        laid_out(workshop, "llamaindex")
        ran(workshop)
        later: pymongo.AsyncMongoClient = pymongo.AsyncMongoClient(workshop.uri)
        return mongodb.MongoDBAtlasVectorSearch(
            workshop.client,
            async_mongodb_client=later,
            db_name=workshop.database,
            collection_name="vectors",
        )

    @pytest.fixture
    def retrieve(self, workshop: Workshop, reader: Any) -> Any:
        """Their index over their store, as an application has it."""
        from llama_index.core import VectorStoreIndex
        from llama_index.core.base.embeddings.base import BaseEmbedding

        class Queries(BaseEmbedding):
            def _get_query_embedding(self, query: str) -> list[float]:
                return embedded(workshop, query)

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return embedded(workshop, query)

            def _get_text_embedding(self, text: str) -> list[float]:
                raise AssertionError("nothing is embedded anew")

        index = VectorStoreIndex.from_vector_store(reader, embed_model=Queries())

        def build(**options: Any) -> Any:
            return index.as_retriever(**options)

        return build

    def test_nodes_come_with_text_score_fields_and_lineage(self, workshop, retrieve):
        from llama_index.core.schema import MetadataMode

        first, *_ = retrieve(similarity_top_k=3).retrieve("green hat")
        node, stored = first.node, workshop.stored()[ObjectId(f"{4:024x}")]
        assert (node.text, node.node_id, node.ref_doc_id) == (
            "green hat",
            f"{4:024x}",
            f"{4:024x}",
        )
        assert first.score == pytest.approx(1.0, abs=1e-5)
        metadata = json.loads(json.dumps(node.metadata))
        assert metadata["price"] == 4.5
        assert metadata["seen"] == "2026-03-05T05:06:07"
        assert metadata["place"]["visits"][0] == {"at": "2026-03-04T05:06:07"}
        lineage = metadata["embedding_lineage"]
        assert lineage == {**stored["embedding_lineage"], "at": lineage["at"]}
        # what a model is shown: the fields, and no lineage; what was embedded: the text alone
        shown = node.get_content(MetadataMode.LLM)
        assert "colour: green" in shown
        assert "embedding_lineage" not in shown
        assert node.get_content(MetadataMode.EMBED) == "green hat"

    def test_their_filters_and_their_asynchronous_side(self, retrieve):
        import asyncio

        from llama_index.core.vector_stores import (
            FilterCondition,
            FilterOperator,
            MetadataFilter,
            MetadataFilters,
        )

        both = MetadataFilters(
            filters=[
                MetadataFilter(key="colour", value="blue"),
                MetadataFilter(key="year", value=1997, operator=FilterOperator.GTE),
            ],
            condition=FilterCondition.AND,
        )
        found = retrieve(similarity_top_k=9, filters=both).retrieve("hat")
        assert {node.metadata["kind"] for node in found} == {"hat", "stone"}
        since = MetadataFilter(key="seen", value="2026-03-07T00:00:00", operator=FilterOperator.GTE)
        retriever = retrieve(similarity_top_k=9, filters=MetadataFilters(filters=[since]))
        later = asyncio.run(retriever.aretrieve("hat"))
        assert {node.metadata["year"] for node in later} == {1996, 1997, 1998}

    def test_what_is_stored_is_what_their_own_writer_writes(self, workshop, reader):
        """Field by field: so whatever else reads their documents reads ours."""
        from llama_index.core.vector_stores.utils import (
            metadata_dict_to_node,
            node_to_metadata_dict,
        )

        for document in workshop.stored().values():
            node = metadata_dict_to_node(document["metadata"])
            again = node_to_metadata_dict(node, remove_text=True)
            del again["embedding_lineage"]  # in the node alone
            assert again == document["metadata"]
            assert set(document) == {
                *("_id", "text", "embedding", "metadata"),
                *("source_id", "embedding_lineage", "embedding_inserted_by"),
            }

    def test_our_own_searches_name_fields_as_the_source_does(self, workshop, reader):
        date = WHEN.replace(day=7)
        found = workshop.search("hat", limit=9, filter={"kind": "hat", "seen": {"$lt": date}})
        assert {hit.id for hit in found.hits} == {ObjectId(f"{n:024x}") for n in (1, 4)}
        assert found.hits[0].fields["kind"] == "hat"
        assert found.hits[0].text in ("red hat", "green hat")
        either = {"$or": [{"colour": "red"}, {"metadata.year": 1996}]}
        assert len(workshop.search("hat", limit=9, filter=either).hits) == 4


def test_filters_mean_the_same_to_the_local_engine(workshop):
    laid_out(workshop, "llamaindex")
    workshop.configure({"search_index": {"engine": "local"}})
    ran(workshop)
    clause = {"seen": {"$gte": WHEN.replace(day=7)}, "kind": {"$ne": "hat"}}
    found = workshop.search("hat", limit=9, filter=clause).hits
    assert {hit.fields["year"] for hit in found} == {1996, 1998}
    with pytest.raises(QueryRefused, match=r"metadata\.owner"):
        workshop.search("hat", filter={"owner": 1})


LAYOUTS = ["plain", "langchain", "llamaindex"]


@pytest.mark.parametrize("before", LAYOUTS)
@pytest.mark.parametrize("after", LAYOUTS)
def test_another_layout_is_written_from_what_is_there(workshop, before, after):
    laid_out(workshop, before)
    first = ran(workshop)
    assert first.embedding_batches["embedded"] == 9
    laid_out(workshop, after)
    second = ran(workshop)
    changed = 0 if before == after else 9
    assert second.source_documents["to store in another format"] == changed
    assert second.embedding_batches["embedded"] == 0
    documents = workshop.stored()
    # exactly what a first run in this layout would have stored: nothing of the other is left
    workshop.vectors.drop()
    third = ran(workshop)
    assert third.embedding_batches["embedded"] == 0
    anew = workshop.stored()
    for key, document in documents.items():
        for stored in (document, anew[key]):
            stored["embedding_lineage"].pop("token")
            content = (stored.get("metadata") or {}).get("_node_content")
            if content:
                node = json.loads(content)
                del node["metadata"]["embedding_lineage"]["token"]
                stored["metadata"]["_node_content"] = node
    assert documents == anew
    assert ran(workshop).stored_vectors["vectors written"] == 0


@pytest.mark.parametrize("layout", ["langchain", "llamaindex"])
def test_vectors_are_had_back_from_another_layout_where_batches_are_gone(workshop, layout):
    ran(workshop)
    with open_pipeline(workshop.pipeline) as opened:
        for name in list(opened.batches.batches(opened.space.id)):
            opened.batches.remove_batch(opened.space.id, name)
    laid_out(workshop, layout)
    run = ran(workshop)
    assert run.embedding_batches["embedded"] == 0
    assert {d["embedding_lineage"]["stored_as"] for d in workshop.stored().values()} == {
        f"array, laid out for {layout}"
    }


@pytest.mark.parametrize("layout", ["langchain", "llamaindex"])
def test_carried_fields_are_refreshed_where_the_reader_looks(workshop, layout):
    laid_out(workshop, layout)
    ran(workshop)
    things = workshop.client[workshop.database]["things"]
    things.update_one({"text": "red boat"}, {"$set": {"kind": "ship"}, "$unset": {"price": ""}})
    run = ran(workshop)
    assert run.embedding_batches["embedded"] == 0
    before = workshop.stored()
    document = before[ObjectId(f"{0:024x}")]
    held = document if layout == "langchain" else document["metadata"]
    assert held["kind"] == "ship"
    assert "price" not in held
    if layout == "llamaindex":
        node = json.loads(held["_node_content"])
        assert node["metadata"]["kind"] == "ship"
        assert "price" not in node["metadata"]
        assert node["metadata"]["embedding_lineage"]["run"] == document["embedding_lineage"]["run"]
    assert workshop.search("red boat", limit=1, filter={"kind": "ship"}).hits


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"dtype": "float32"}, "takes arrays of numbers only, and `dtype: float32`: remove one"),
        ({"dtype": "int8"}, "`dtype: int8`"),
        ({"rescore": "float32", "dtype": "auto"}, "would take a second vector for metadata"),
        ({"in_place": True}, "needs a collection of its own"),
        ({"path": "ai.embedding"}, "choose one without a dot"),
    ],
)
@pytest.mark.parametrize("layout", ["langchain", "llamaindex"])
def test_what_a_reader_could_not_read_is_refused_when_the_yaml_loads(
    workshop, layout, settings, why
):
    laid_out(workshop, layout, **settings)
    with pytest.raises(ConfigurationError, match=why):
        workshop.pipeline.definitions()


@pytest.mark.parametrize(
    ("layout", "name"), [("langchain", "score"), ("llamaindex", "doc_id"), ("langchain", "score.a")]
)
def test_names_that_the_reader_needs_are_refused_when_the_yaml_loads(workshop, layout, name):
    workshop.configure({"source": {"carry": ["kind", name]}, "search_index": {"filter_fields": []}})
    workshop.pipeline.definitions()  # ours needs no such name
    laid_out(workshop, layout)
    with pytest.raises(ConfigurationError, match=f"carries {name}, which the reader"):
        workshop.pipeline.definitions()


@pytest.mark.parametrize("layout", ["langchain", "llamaindex"])
def test_a_second_vector_in_a_document_is_refused_from_either_side(workshop, layout):
    laid_out(workshop, layout)
    ran(workshop)
    workshop.name = "other"
    laid_out(workshop, "plain", path="other_embedding")
    run = workshop.run()
    assert not run.success
    assert f"`layout: {layout}`, declared there, knows one vector a document" in run.failures[0]
    # the other way round: the same pipeline, at another path
    laid_out(workshop, layout, path="third", collection="elsewhere")
    ran(workshop)
    laid_out(workshop, layout, path="fourth")
    run = workshop.run()
    assert not run.success
    assert "name another `collection`" in run.failures[0]


def test_two_pipelines_of_one_path_have_one_layout(workshop):
    laid_out(workshop, "langchain")
    ran(workshop)
    workshop.name = "other"
    laid_out(workshop, "llamaindex")
    run = workshop.run()
    assert not run.success
    assert "not stored as array, laid out for llamaindex: give both the same" in run.failures[0]


def test_a_document_that_would_fail_their_whole_search_is_set_aside(workshop):
    stores = pytest.importorskip("langchain_mongodb.vectorstores")
    from langchain_core.embeddings import FakeEmbeddings

    things = workshop.client[workshop.database]["things"]
    things.insert_one({"_id": {"part": 1}, "text": "red boat", "kind": "boat"})
    ran(workshop)
    reader = stores.MongoDBAtlasVectorSearch(workshop.vectors, FakeEmbeddings(size=64))
    vector = embedded(workshop, "red boat")
    with pytest.raises(ValueError, match="valid string"):  # of one document, but for all
        reader.max_marginal_relevance_search_by_vector(vector, k=10, fetch_k=10)
    laid_out(workshop, "langchain", allow_delete=True)
    run = workshop.run()
    assert run.success, run.failures
    (reason,) = workshop.quarantine().values()
    assert "its id is a dict, which LangChain's reader cannot take" in reason
    assert len(reader.max_marginal_relevance_search_by_vector(vector, k=10, fetch_k=10)) == 9


@pytest.mark.parametrize("layout", ["langchain", "llamaindex"])
def test_chunks_say_where_they_stand_and_what_stands_around_them(workshop, layout):
    workshop.write([{"_id": "long", "text": "red boat\n\ngreen hat\n\nblue stone", "kind": "k"}])
    workshop.configure(
        {
            "source": {
                "origin": {"jsonl": {"path": str(workshop.source)}},
                "chunking": {"recursive": {"size": 12, "overlap": 0}},
                "carry": ["kind"],
            },
            "search_index": {"filter_fields": ["kind", "chunk.index"]},
        }
    )
    laid_out(workshop, layout)
    ran(workshop)
    found = workshop.search("green hat", limit=1, expand=1).hits[0]
    assert found.text == "green hat"
    assert "red boat" in found.context
    assert "blue stone" in found.context
    assert workshop.search("hat", filter={"chunk.index": 2}).hits[0].text == "blue stone"
    if layout == "llamaindex":
        schema = pytest.importorskip("llama_index.core.vector_stores.utils")
        nodes = [
            schema.metadata_dict_to_node(row["metadata"]) for row in workshop.stored().values()
        ]
        assert {node.ref_doc_id for node in nodes} == {"long"}
        assert (0, 8) in {(node.start_char_idx, node.end_char_idx) for node in nodes}
        assert {node.metadata["chunk"]["index"] for node in nodes} == {0, 1, 2}


def test_an_audit_finds_what_the_reader_would_fail_on(workshop):
    laid_out(workshop, "llamaindex")
    ran(workshop)
    before = workshop.stored()
    first, second = list(before)[:2]
    workshop.vectors.update_one({"_id": first}, {"$unset": {"metadata": ""}})
    workshop.vectors.update_one({"_id": second}, {"$set": {"embedding.0": 9.0}})
    findings = {finding.text: finding.count for finding in audit(workshop.pipeline).findings}
    assert any("not as llamaindex reads it" in text for text in findings)
    assert sum(findings.values()) == 2
    assert repair(workshop.pipeline).failed_checks == []
    assert not audit(workshop.pipeline).findings
    after = workshop.stored()
    assert after[first]["metadata"].keys() == before[first]["metadata"].keys()
    assert after[second]["embedding"] == before[second]["embedding"]


def said(call: Any) -> str:
    """What a reader does, in a word."""
    try:
        return "finds" if call() else "finds nothing"
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("settings", "similarity", "diverse", "as_json", "nodes"),
    [
        ({"dtype": "float32"}, "finds", "ValueError", "TypeError", "KeyError"),
        ({"dtype": "array"}, "finds", "finds", "TypeError", "KeyError"),
        # an answer without hits and without an error
        ({"dtype": "int8"}, "finds nothing", "finds nothing", "finds nothing", "finds nothing"),
        ({"layout": "langchain"}, "finds", "finds", "finds", "KeyError"),
        ({"layout": "llamaindex"}, "finds", "finds", "finds", "finds"),
    ],
    ids=str,
)
def test_which_reader_reads_what(workshop, settings, similarity, diverse, as_json, nodes):
    """The table of readers: similarity, MMR and JSON of LangChain's; LlamaIndex's; ours."""
    langchain = pytest.importorskip("langchain_mongodb.vectorstores")
    llamaindex = pytest.importorskip("llama_index.vector_stores.mongodb")
    from llama_index.core.vector_stores import VectorStoreQuery

    from pipelines.integrations.langchain import PipelineEmbeddings, PipelineRetriever

    workshop.configure({"vector_store": settings})
    ran(workshop)
    with open_searcher(workshop.pipeline) as searcher:
        model = PipelineEmbeddings(searcher)
        theirs = langchain.MongoDBAtlasVectorSearch(workshop.vectors, model)
        assert said(lambda: theirs.similarity_search("hat")) == similarity
        assert said(lambda: theirs.max_marginal_relevance_search("hat")) == diverse
        found = theirs.similarity_search("hat")
        assert said(lambda: [json.dumps(document.metadata) for document in found]) == as_json
        store = llamaindex.MongoDBAtlasVectorSearch(
            workshop.client,
            async_mongodb_client=pymongo.AsyncMongoClient(workshop.uri),
            db_name=workshop.database,
            collection_name="vectors",
        )
        query = VectorStoreQuery(query_embedding=model.embed_query("hat"), similarity_top_k=4)
        assert said(lambda: store.query(query).nodes) == nodes
        ours = PipelineRetriever(searcher=searcher, options={"diversity": 0.5})
        assert said(lambda: [json.dumps(d.metadata) for d in ours.invoke("hat")]) == "finds"


@pytest.mark.parametrize("engine", ["local", "mongodb"])
def test_words_of_a_carried_field_are_found_where_the_layout_has_them(workshop, engine):
    laid_out(workshop, "llamaindex")
    text = {"fields": ["text", "kind", "colour"]}
    workshop.configure({"search_index": {"engine": engine, "text": text}})
    ran(workshop)
    found = workshop.search("stone", mode="text", limit=9, filter={"colour": "blue"}).hits
    assert [hit.text for hit in found] == ["blue stone"]
    both = workshop.search("green hat", mode="hybrid", limit=3).hits
    assert both[0].text == "green hat"
    assert both[0].ranks == {"vector": 1, "text": 1}


def test_search_nodes_keep_a_copy_of_fields_where_the_layout_has_them(node, workshop):
    laid_out(workshop, "llamaindex")
    kept = ["text", "source_id", "chunk", "embedding_lineage", *CARRIED]
    workshop.configure(
        {"search_index": {"stored_source_include": kept, "return_stored_source": True}}
    )
    ran(workshop)
    found = workshop.search("green hat", limit=1, filter={"kind": "hat"})
    (asked,) = [command for command in node.commands if "hat" in str(command.get("pipeline"))]
    assert asked["pipeline"][0]["$vectorSearch"]["returnStoredSource"] is True
    assert found.hits[0].fields.keys() == set(CARRIED)
    assert found.hits[0].text == "green hat"
    (index,) = workshop.vectors.list_search_indexes()
    assert "metadata.kind" in index["latestDefinition"]["storedSource"]["include"]
