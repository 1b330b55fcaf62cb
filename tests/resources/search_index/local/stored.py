"""Vectors in a real collection, written there by whoever, and local indexes over them."""

import itertools
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
from pymongo import ReplaceOne

from resources.batch_store.store import BatchStore
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Element, VectorFormat, to_bson
from resources.registry.registry import Registry
from resources.search_index.local.engine import LocalEngine
from resources.search_index.resource import SearchIndexResource
from resources.vector_store.store import VectorStore

AT = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)


class Stored:
    """One store of vectors of one space.

    Args:
        database: An empty one.
        folder: For the batch store.
        dimensions: Of the vectors.
        element: Of the vectors.
    """

    def __init__(
        self,
        database: pymongo.database.Database,
        folder: Path | str,
        *,
        dimensions: int = 8,
        element: Element = "float32",
    ) -> None:
        self.folder, self.element = folder, element
        self.space = EmbeddingSpace("p", "model", "", dimensions, "", normalized=False)
        self.store = VectorStore(
            database["vectors"],
            path="embedding",
            lineage_path="embedding_lineage",
            rescore_path="embedding_rescore",
            format=VectorFormat(element, element),
            in_place=True,
            carried=(),
            pipeline="films",
        )
        self.store.prepare()
        self.registry = Registry(database.client, database.name)
        self._stores = database["vector_stores"]
        self._tokens = itertools.count(1)

    def put(self, vectors: Iterable[tuple[Any, np.ndarray]], **fields: Any) -> None:
        """Store ids and vectors, as a run does that has made them."""
        token = next(self._tokens)
        writes = [
            ReplaceOne(
                {"_id": each},
                {
                    "_id": each,
                    "embedding": to_bson(vector, self.element),
                    "embedding_lineage": {
                        "space": self.space.id,
                        "text_hash": f"{token}",
                        "stored_as": self.element,
                        "at": AT,
                        "token": token,
                    },
                    **fields,
                },
                upsert=True,
            )
            for each, vector in vectors
        ]
        if writes:
            self.store.collection.bulk_write(writes)
        self.changed()

    def delete(self, *ids: Any) -> None:
        self.store.collection.delete_many({"_id": {"$in": list(ids)}})
        self.changed()

    def changed(self) -> None:
        """Note that the store has changed, as every run does."""
        values = {"revision": secrets.token_hex(8)}
        self._stores.update_one({"_id": str(self.store.key)}, {"$set": values}, upsert=True)

    def engine(self, name: str = "vector_index", **declared: Any) -> LocalEngine:
        return LocalEngine(
            store=self.store,
            batches=BatchStore(str(self.folder)),
            registry=self.registry,
            space=self.space,
            pipeline="films",
            declared=SearchIndexResource(name=name, **{"filter_fields": ["kind"], **declared}),
        )
