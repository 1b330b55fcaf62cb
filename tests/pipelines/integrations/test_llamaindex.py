"""A pipeline in LlamaIndex: an engine built of its own classes, over a real index."""

import asyncio
import json

import pytest

from pipelines.operations.search import open_searcher
from resources.core.errors import ConfigurationError, QueryRefused
from tests.pipelines.integrations.conftest import DOCUMENT, QUERY

pytest.importorskip("llama_index.core")

from llama_index.core.llms.mock import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, QueryBundle

from pipelines.integrations.llamaindex import PipelineEmbedding, PipelineRetriever


def test_a_node_has_text_id_fields_score_and_lineage(searcher, run_id):
    first = PipelineRetriever(searcher).retrieve("green hat")[0]
    node = first.node
    assert (node.text, node.node_id, node.ref_doc_id) == ("green hat", f"{4:024x}", f"{4:024x}")
    assert first.score == searcher.search("green hat").hits[0].score
    metadata = json.loads(json.dumps(node.metadata, allow_nan=False))
    assert (metadata["seen"], metadata["price"]) == ("2026-01-05T00:00:00", 4.5)
    assert metadata["field_score"] == 4
    assert metadata["lineage"]["run"] == run_id
    assert node.get_content(MetadataMode.EMBED) == "green hat"
    shown = node.get_content(MetadataMode.LLM)
    assert "kind: hat" in shown
    assert "lineage" not in shown


def test_options_are_the_searchers(searcher):
    hats = PipelineRetriever(searcher, limit=9, filter={"kind": "hat"}).retrieve("boat")
    assert {found.metadata["kind"] for found in hats} == {"hat"}
    assert len(hats) == 3
    one = asyncio.run(PipelineRetriever(searcher, limit=1).aretrieve("red stone"))
    assert [found.text for found in one] == ["red stone"]
    with pytest.raises(QueryRefused, match="no option 'similarity_top_k'"):
        PipelineRetriever(searcher, similarity_top_k=4).retrieve("hat")
    # a question that brings its embedding is asked by it
    vector = PipelineEmbedding(searcher).get_query_embedding("blue boat")
    bundle = QueryBundle("these words count for nothing", embedding=vector)
    assert PipelineRetriever(searcher, limit=1).retrieve(bundle)[0].text == "blue boat"


def test_in_a_query_engine(searcher):
    engine = RetrieverQueryEngine.from_args(PipelineRetriever(searcher, limit=2), llm=MockLLM())
    answer = engine.query("green hat")
    assert "green hat" in str(answer)  # their mock answers with what it was shown
    assert len(answer.source_nodes) == 2
    assert len(asyncio.run(engine.aquery("blue boat")).source_nodes) == 2


def test_embeddings_have_the_prompt_of_their_side(searcher, bare):
    model = PipelineEmbedding(searcher)
    asked, stored = model.get_query_embedding("red hat"), model.get_text_embedding("red hat")
    assert asked == pytest.approx(bare(f"{QUERY}red hat").tolist(), abs=1e-6)
    assert stored == pytest.approx(bare(f"{DOCUMENT}red hat").tolist(), abs=1e-6)
    assert model.model_name == searcher.space.model
    many = model.get_text_embedding_batch(["red hat", "boat"])
    assert many[0] == pytest.approx(stored)
    assert asyncio.run(model.aget_query_embedding("red hat")) == pytest.approx(asked)
    assert asyncio.run(model.aget_text_embedding("red hat")) == pytest.approx(stored)
    again = asyncio.run(model.aget_text_embedding_batch(["red hat", "boat"]))
    assert again[1] == pytest.approx(many[1])


def test_their_store_with_our_embedding_finds_what_we_find(workshop):
    mongodb = pytest.importorskip("llama_index.vector_stores.mongodb")
    import pymongo
    from llama_index.core import VectorStoreIndex
    from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

    workshop.configure({"vector_store": {"layout": "llamaindex"}})
    assert workshop.run().success
    store = mongodb.MongoDBAtlasVectorSearch(
        workshop.client,
        async_mongodb_client=pymongo.AsyncMongoClient(workshop.uri),
        db_name=workshop.database,
        collection_name="vectors",
    )
    with open_searcher(workshop.pipeline) as searcher:
        index = VectorStoreIndex.from_vector_store(store, embed_model=PipelineEmbedding(searcher))
        for question in ("green hat", "a blue boat", "stone"):
            ours = PipelineRetriever(searcher, limit=9).retrieve(question)
            found = index.as_retriever(similarity_top_k=9).retrieve(question)
            assert [node.node_id for node in found] == [node.node_id for node in ours]
            scores = [node.score for node in ours]
            assert [node.score for node in found] == pytest.approx(scores, abs=1e-6)
        hats = MetadataFilters(filters=[MetadataFilter(key="kind", value="hat")])
        theirs = index.as_retriever(similarity_top_k=9, filters=hats).retrieve("boat")
        mine = PipelineRetriever(searcher, limit=9, filter={"kind": "hat"}).retrieve("boat")
        assert [node.node_id for node in theirs] == [node.node_id for node in mine]
        # and in their words for the same filter
        there = PipelineRetriever(searcher, limit=9, filter={"metadata.kind": "hat"})
        assert [node.node_id for node in there.retrieve("boat")] == [n.node_id for n in mine]


def test_vectors_that_are_no_floats_are_not_handed_out(workshop, voyage_api, monkeypatch):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    provider = {"voyage": {"base_url": voyage_api.url, "output_dtype": "int8"}}
    workshop.configure({"embedder": {"provider": provider}})
    assert workshop.run().success
    with open_searcher(workshop.pipeline) as searcher:
        with pytest.raises(ConfigurationError, match="embeds as int8, and LlamaIndex takes"):
            PipelineEmbedding(searcher)
        assert len(PipelineRetriever(searcher).retrieve("green hat")) == 5
