"""A pipeline in LangChain: chains built of its own classes, over a real index."""

import asyncio
import json

import pytest
from bson import ObjectId

from pipelines.operations.search import open_searcher
from resources.core.errors import ConfigurationError, QueryRefused
from tests.pipelines.integrations.conftest import DOCUMENT, QUERY

pytest.importorskip("langchain_core")

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from pipelines.integrations.langchain import PipelineEmbeddings, PipelineRetriever


def test_a_document_has_text_id_fields_score_and_lineage(searcher, run_id):
    first = PipelineRetriever(searcher=searcher).invoke("green hat")[0]
    assert (first.page_content, first.id) == ("green hat", f"{4:024x}")
    metadata = json.loads(json.dumps(first.metadata, allow_nan=False))
    assert metadata["kind"] == "hat"
    assert (metadata["seen"], metadata["price"]) == ("2026-01-05T00:00:00", 4.5)
    assert metadata["field_score"] == 4  # of the source
    assert metadata["score"] == searcher.search("green hat").hits[0].score
    assert metadata["source_id"] == f"{4:024x}"
    assert metadata["lineage"]["run"] == run_id
    assert metadata["lineage"]["space"] == searcher.space.id


def test_options_are_the_searchers_and_a_call_may_give_others(searcher):
    retriever = PipelineRetriever(searcher=searcher, options={"limit": 2, "diversity": 0.1})
    assert len(retriever.invoke("hat")) == 2
    hats = retriever.invoke("boat", limit=9, filter={"kind": "hat"})
    assert {document.metadata["kind"] for document in hats} == {"hat"}
    assert len(hats) == 3
    several = retriever.batch(["green hat", "blue boat"])
    assert [found[0].page_content for found in several] == ["green hat", "blue boat"]
    assert asyncio.run(retriever.ainvoke("red stone", limit=1))[0].page_content == "red stone"
    with pytest.raises(QueryRefused, match="no option 'k'"):
        retriever.invoke("hat", k=4)
    with pytest.raises(QueryRefused, match="the query is empty"):
        asyncio.run(retriever.ainvoke(" "))


def test_in_a_chain(searcher):
    seen = []
    chain = (
        {
            "context": PipelineRetriever(searcher=searcher, options={"limit": 1})
            | (lambda found: "\n".join(document.page_content for document in found)),
            "question": RunnablePassthrough(),
        }
        | ChatPromptTemplate.from_template("{context}\n\n{question}")
        | RunnableLambda(lambda prompt: seen.append(prompt.to_string()) or prompt)
        | FakeListChatModel(responses=["a hat"])
        | StrOutputParser()
    )
    assert chain.invoke("green hat") == "a hat"
    assert "green hat\n\ngreen hat" in seen[0]


def test_embeddings_have_the_prompt_of_their_side(searcher, bare):
    embeddings = PipelineEmbeddings(searcher)
    asked, stored = embeddings.embed_query("red hat"), embeddings.embed_documents(["red hat", "b"])
    assert asked == pytest.approx(bare(f"{QUERY}red hat").tolist(), abs=1e-6)
    assert stored[0] == pytest.approx(bare(f"{DOCUMENT}red hat").tolist(), abs=1e-6)
    assert asked != pytest.approx(stored[0], abs=1e-3)
    assert embeddings.embed_documents([]) == []
    assert asyncio.run(embeddings.aembed_query("red hat")) == asked
    assert asyncio.run(embeddings.aembed_documents(["red hat"]))[0] == pytest.approx(stored[0])


def test_their_store_with_our_embeddings_finds_what_we_find(workshop):
    """`layout: langchain`, their MongoDBAtlasVectorSearch, our model: no line of code between."""
    stores = pytest.importorskip("langchain_mongodb.vectorstores")
    workshop.configure({"vector_store": {"layout": "langchain"}})
    workshop.configure({"source": {"carry": ["kind", "seen"]}})
    assert workshop.run().success
    with open_searcher(workshop.pipeline) as searcher:
        theirs = stores.MongoDBAtlasVectorSearch(workshop.vectors, PipelineEmbeddings(searcher))
        for question in ("green hat", "a blue boat", "stone"):
            ours = PipelineRetriever(searcher=searcher, options={"limit": 9}).invoke(question)
            found = theirs.similarity_search_with_score(question, k=9)
            assert [document.id for document, _ in found] == [document.id for document in ours]
            scores = [document.metadata["score"] for document in ours]
            assert [score for _, score in found] == pytest.approx(scores, abs=1e-6)
        apart = theirs.as_retriever(search_type="mmr", search_kwargs={"k": 3}).invoke("green hat")
        assert len({document.id for document in apart}) == 3
        assert workshop.vectors.find_one({"_id": ObjectId(apart[0].id)})


@pytest.mark.parametrize("dtype", ["float32", "int8", "packed_bit"])
def test_the_retriever_asks_in_the_stored_type(workshop, dtype):
    similarity = "euclidean" if dtype == "packed_bit" else "dotProduct"
    workshop.configure(
        {"vector_store": {"dtype": dtype}, "search_index": {"similarity": similarity}}
    )
    assert workshop.run().success
    with open_searcher(workshop.pipeline) as searcher:
        found = PipelineRetriever(searcher=searcher).invoke("green hat")
        # of another prompt, so near and not equal
        assert "green hat" in [document.page_content for document in found]
        assert len(PipelineEmbeddings(searcher).embed_query("hat")) == 64


def test_vectors_that_are_no_floats_are_not_handed_out(workshop, voyage_api, monkeypatch):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    provider = {"voyage": {"base_url": voyage_api.url, "output_dtype": "int8"}}
    workshop.configure({"embedder": {"provider": provider}})
    assert workshop.run().success
    with open_searcher(workshop.pipeline) as searcher:
        with pytest.raises(ConfigurationError, match="embeds as int8, and LangChain takes"):
            PipelineEmbeddings(searcher)
        found = PipelineRetriever(searcher=searcher).invoke("green hat")
        assert len(found) == 5
