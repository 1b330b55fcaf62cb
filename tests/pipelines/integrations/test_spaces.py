"""Spaces change under what the frameworks hold: no vector of one is asked in another."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.work.searching import following
from pipelines.integrations import langchain, llamaindex
from pipelines.operations.search import open_searcher
from resources.core.errors import QueryRefused
from tests.two_spaces import TwoSpaces, two_spaces
from tests.workshop import Workshop


@pytest.fixture
def two(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[TwoSpaces]:
    shop = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    shop.write([{"_id": n, "text": f"number {n} of {n % 7}"} for n in range(20)])
    yield two_spaces(shop)
    shop.client.drop_database(shop.database)
    shop.client.close()


def test_retrievers_follow_and_embeddings_stay(two: TwoSpaces, monkeypatch):
    from llama_index.core.schema import QueryBundle

    monkeypatch.setattr(following, "LOOK_SECONDS", 0)
    monkeypatch.setattr(following, "STALE_SECONDS", 0)
    with open_searcher(two.shop.pipeline, follow=False) as searcher:
        chain = langchain.PipelineRetriever(searcher=searcher)
        index = llamaindex.PipelineRetriever(searcher)
        words, embedding = (
            langchain.PipelineEmbeddings(searcher),
            llamaindex.PipelineEmbedding(searcher),
        )

        def spaces() -> set[str]:
            found = [each.metadata for each in chain.invoke("number 3")]
            found += [each.metadata for each in index.retrieve("number 3")]
            return {each["lineage"]["space"] for each in found}

        assert spaces() == {two.first}
        before = words.embed_query("number 3"), words.embed_documents(["number 3"])
        two.serve(two.second)
        assert spaces() == {two.second}
        assert (words.embed_query("number 3"), words.embed_documents(["number 3"])) == before
        vector = embedding.get_query_embedding("number 3")
        assert vector == before[0]
        # Of the same width as what serves, and asked where it belongs.
        asked = index.retrieve(QueryBundle("number 3", embedding=vector))
        assert {each.metadata["lineage"]["space"] for each in asked} == {two.first}
        two.note(two.first, retired=True)
        for ask in (
            lambda: words.embed_query("number 3"),
            lambda: embedding.get_text_embedding("number 3"),
            lambda: index.retrieve(QueryBundle("number 3", embedding=vector)),
        ):
            with pytest.raises(QueryRefused, match=f"the space {two.first} of films is retired"):
                ask()
