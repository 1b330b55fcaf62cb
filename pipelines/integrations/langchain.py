"""A pipeline in LangChain: `pip install 'mongodb-embedding-pipelines[langchain]'`.

    with open_searcher("articles") as searcher:
        retriever = PipelineRetriever(searcher=searcher, options={"limit": 4})
        chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model

Both classes ask a `Searcher`, so the prompt, the stored type and the index are those of the
pipeline. The retriever follows the space that serves, whatever it is changed to; the embeddings
stay in the one that served when they were made. They may be used for as long as the searcher is
open.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Unpack, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from pipelines.integrations.hits import SpaceVector, metadata_of, space_of_floats, text_of
from pipelines.operations.search import Searcher, SearchHit, SearchOptions
from resources.core.plain import id_text


class PipelineRetriever(BaseRetriever):
    """The documents that a search finds, best first.

    Attributes:
        searcher: Open, of the pipeline.
        options: As `Searcher.search` takes them; a call may give others:
            `retriever.invoke("…", limit=3, filter={"kind": "novel"})`.
    """

    searcher: Searcher
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        **options: Unpack[SearchOptions],
    ) -> list[Document]:
        answer = self.searcher.search(query, **self._asked(options))
        return [_document(hit) for hit in answer.hits]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **options: Unpack[SearchOptions],
    ) -> list[Document]:
        answer = await self.searcher.asearch(query, **self._asked(options))
        return [_document(hit) for hit in answer.hits]

    def _asked(self, options: SearchOptions) -> SearchOptions:
        return cast(SearchOptions, {**self.options, **options})


def _document(hit: SearchHit) -> Document:
    return Document(page_content=text_of(hit), id=id_text(hit.id), metadata=metadata_of(hit))


class PipelineEmbeddings(Embeddings):
    """The pipeline's model: texts as documents and questions as queries, each with its prompt.

    For LangChain's own `MongoDBAtlasVectorSearch` over what the pipeline stores (`vector_store:
    {layout: langchain}`), or for anything else that compares with its vectors: such a reader stays
    at one path, so these stay in one space, and are refused once that is retired.

    Args:
        searcher: Open, of the pipeline.

    Attributes:
        space: Id of the space: the one that served when this was made.

    Raises:
        ConfigurationError: The pipeline's vectors are no floats.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.space = space_of_floats(searcher, "LangChain")
        self._searcher = searcher

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if not texts:
            return []
        return self._searcher.embed_documents(list(texts), space=self.space).tolist()

    def embed_query(self, text: str) -> list[float]:
        (vector,) = self._searcher.embed_queries([text], space=self.space)
        return SpaceVector(vector.tolist(), self.space)

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        return await asyncio.to_thread(self.embed_query, text)
