"""A pipeline in LlamaIndex: `pip install 'mongodb-embedding-pipelines[llamaindex]'`.

    with open_searcher("articles") as searcher:
        retriever = PipelineRetriever(searcher, limit=4)
        engine = RetrieverQueryEngine.from_args(retriever, llm=model)

Both classes ask a `Searcher`, so the prompt, the stored type and the index are those of the
pipeline. The retriever follows the space that serves, whatever it is changed to; the embedding
stays in the one that served when it was made. They may be used for as long as the searcher is open.
"""

import asyncio
from typing import Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from pipelines.integrations.hits import OURS, SpaceVector, metadata_of, space_of_floats, text_of
from pipelines.operations.search import Searcher, SearchHit, SearchOptions
from resources.core.plain import id_text


class PipelineRetriever(BaseRetriever):
    """The nodes that a search finds, best first.

    A question that brings its own embedding is asked by it; one for the pipeline's model comes from
    `PipelineEmbedding`, and is asked in the space of that.

    Args:
        searcher: Open, of the pipeline.
        options: As `Searcher.search` takes them.
    """

    def __init__(self, searcher: Searcher, **options: Unpack[SearchOptions]) -> None:
        super().__init__()
        self._searcher, self._options = searcher, options

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        answer = self._searcher.search(self._asked(query_bundle), **self._options)
        return [_node(hit) for hit in answer.hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        answer = await self._searcher.asearch(self._asked(query_bundle), **self._options)
        return [_node(hit) for hit in answer.hits]

    def _asked(self, query: QueryBundle) -> str | list[float]:
        by_words = self._options.get("mode", "vector") != "vector"
        return query.query_str if by_words or query.embedding is None else query.embedding


def _node(hit: SearchHit) -> NodeWithScore:
    metadata = metadata_of(hit)
    node = TextNode(
        id_=id_text(hit.id),
        text=text_of(hit),
        metadata=metadata,
        # The vector is of the text alone, and a model that answers has no use for the rest.
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=[name for name in OURS if name in metadata],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=id_text(hit.source_id))},
    )
    return NodeWithScore(node=node, score=hit.score)


class PipelineEmbedding(BaseEmbedding):
    """The pipeline's model: texts as documents and questions as queries, each with its prompt.

    It stays in the space that served when it was made, and is refused once that is retired.

    Args:
        searcher: Open, of the pipeline.

    Raises:
        ConfigurationError: The pipeline's vectors are no floats.
    """

    _searcher: Searcher = PrivateAttr()
    _space: str = PrivateAttr()

    def __init__(self, searcher: Searcher) -> None:
        space = space_of_floats(searcher, "LlamaIndex")
        super().__init__(model_name=searcher.serving(space).space.model)
        self._searcher, self._space = searcher, space

    def _get_query_embedding(self, query: str) -> list[float]:
        (vector,) = self._searcher.embed_queries([query], space=self._space)
        return SpaceVector(vector.tolist(), self._space)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._searcher.embed_documents(texts, space=self._space).tolist()

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
