"""What a user would use instead, each as its own documentation shows it, and what we do."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import CollectionInvalid
from sentence_transformers import SentenceTransformer

from tests.workshop import Workshop

Document = dict[str, Any]
"""`_id`, `text` and `kind`."""


class Contestant(ABC):
    """Brings one collection of MongoDB into line with a list of documents.

    Args:
        uri: Of the server.
        database: An empty one.
        model: Folder of the model.
        folder: For its own files.
    """

    name: str

    def __init__(self, uri: str, database: str, model: Path, folder: Path) -> None:
        self.uri, self.database, self.folder, self.model = uri, database, folder, model
        self.client: pymongo.MongoClient = pymongo.MongoClient(uri)
        self.vectors = self.client[database]["vectors"]
        self.prepare(model)

    def at(self, uri: str) -> "Contestant":
        """The same contestant on the way to the same server by another address."""
        return type(self)(uri, self.database, self.model, self.folder)

    @abstractmethod
    def prepare(self, model: Path) -> None:
        """Load the model and connect; not measured."""

    @abstractmethod
    def load(self, documents: Sequence[Document]) -> None:
        """Embed and store what has changed, delete what has gone; measured."""

    def stored(self) -> int:
        return self.vectors.count_documents({})


class Ours(Contestant):
    name = "ours"

    def prepare(self, model: Path) -> None:
        self._workshop = Workshop(self.folder, self.uri, self.database, str(model))
        self._workshop.configure({"vector_store": {"allow_delete": True}})
        self.vectors_per_second = 0.0

    def write_source(self, documents: Sequence[Document]) -> None:
        """The source is there before a run begins, as it is for the others."""
        lines = "\n".join(json.dumps(document) for document in documents)
        self._workshop.source.write_text(lines + "\n", "utf-8")

    def load(self, documents: Sequence[Document]) -> None:
        run = self._workshop.run()
        if not run.success:
            raise RuntimeError(run.failures[0])
        self.vectors_per_second = run.stored_vectors["vectors per second"]


class Tutorial(Contestant):
    """MongoDB's "How to create vector embeddings manually": a call and a write per text."""

    name = "tutorial"

    def prepare(self, model: Path) -> None:
        self._model = SentenceTransformer(str(model), device="cpu")

    def load(self, documents: Sequence[Document]) -> None:
        for document in documents:
            embedding = self._model.encode(document["text"]).tolist()
            values = {**document, "embedding": embedding}
            self.vectors.update_one({"_id": document["_id"]}, {"$set": values}, upsert=True)


class LangChain(Contestant):
    """`index()` with MongoDBRecordManager and MongoDBAtlasVectorSearch, full clean-up."""

    name = "LangChain"

    def prepare(self, model: Path) -> None:
        from langchain_core.embeddings import Embeddings
        from langchain_mongodb import MongoDBAtlasVectorSearch
        from langchain_mongodb.indexes import MongoDBRecordManager

        loaded = SentenceTransformer(str(model), device="cpu")

        class Local(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return loaded.encode(texts).tolist()

            def embed_query(self, text: str) -> list[float]:
                return loaded.encode(text).tolist()

        self._store = MongoDBAtlasVectorSearch(
            self.vectors, Local(), auto_create_index=False, index_name="vectors"
        )
        self._records = MongoDBRecordManager(self.client[self.database]["records"])
        self._records.create_schema()

    def load(self, documents: Sequence[Document]) -> None:
        from langchain_core.documents import Document as Piece
        from langchain_core.indexing import index

        pieces = [
            Piece(page_content=each["text"], metadata={"source": each["_id"], "kind": each["kind"]})
            for each in documents
        ]
        index(pieces, self._records, self._store, cleanup="full", source_id_key="source",
              key_encoder="sha256")  # fmt: skip


class LlamaIndex(Contestant):
    """IngestionPipeline with a document store that knows what is there."""

    name = "LlamaIndex"

    def prepare(self, model: Path) -> None:
        from llama_index.core.embeddings import BaseEmbedding
        from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
        from llama_index.core.node_parser import SentenceSplitter
        from llama_index.storage.docstore.mongodb import MongoDocumentStore
        from llama_index.vector_stores.mongodb import MongoDBAtlasVectorSearch

        loaded = SentenceTransformer(str(model), device="cpu")

        class Local(BaseEmbedding):
            def _get_text_embedding(self, text: str) -> list[float]:
                return loaded.encode(text).tolist()

            def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
                return loaded.encode(texts).tolist()

            def _get_query_embedding(self, query: str) -> list[float]:
                return loaded.encode(query).tolist()

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return loaded.encode(query).tolist()

        self._pipeline = IngestionPipeline(
            # Without a splitter a changed document is inserted under its old id, and refused.
            transformations=[SentenceSplitter(), Local(embed_batch_size=100)],
            vector_store=MongoDBAtlasVectorSearch(
                mongodb_client=self.client,
                async_mongodb_client=pymongo.AsyncMongoClient(self.uri),
                db_name=self.database,
                collection_name="vectors",
            ),
            docstore=MongoDocumentStore.from_uri(self.uri, db_name=self.database),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        )

    def load(self, documents: Sequence[Document]) -> None:
        from llama_index.core.schema import Document as Piece

        self._pipeline.run(
            documents=[
                Piece(text=each["text"], id_=each["_id"], metadata={"kind": each["kind"]})
                for each in documents
            ]
        )


class Haystack(Contestant):
    """All texts embedded, and a writer that overwrites; knows nothing of what changed."""

    name = "Haystack"

    def prepare(self, model: Path) -> None:
        from haystack.utils import Secret
        from haystack_integrations.document_stores.mongodb_atlas import MongoDBAtlasDocumentStore

        # Its own embedder is a package of its own now, around the same call.
        self._model = SentenceTransformer(str(model), device="cpu")
        with suppress(CollectionInvalid):  # there already, by the model before
            self.client[self.database].create_collection("vectors")
        self._store = MongoDBAtlasDocumentStore(
            mongo_connection_string=Secret.from_token(self.uri),
            database_name=self.database,
            collection_name="vectors",
            vector_search_index="vectors",
            full_text_search_index="texts",
        )

    def load(self, documents: Sequence[Document]) -> None:
        from haystack import Document as Piece
        from haystack.document_stores.types import DuplicatePolicy

        vectors = self._model.encode([each["text"] for each in documents])
        pieces = [
            Piece(
                id=each["_id"],
                content=each["text"],
                meta={"kind": each["kind"]},
                embedding=vector.tolist(),
            )
            for each, vector in zip(documents, vectors, strict=True)
        ]
        self._store.write_documents(pieces, policy=DuplicatePolicy.OVERWRITE)


CONTESTANTS: dict[str, type[Contestant]] = {
    each.name: each for each in (Ours, Tutorial, LangChain, LlamaIndex, Haystack)
}
