"""A store with some vectors, and engines over it, behind the stand-in for search nodes."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk
from resources.core.lineage import Lineage
from resources.core.space import EmbeddingSpace
from resources.registry.registry import Registry
from resources.search_index.engine import SearchEngine
from resources.search_index.resource import SearchIndexResource
from resources.sources.inline import TextsOrigin
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore
from resources.vector_store.writer import VectorWriter
from tests.search_node import SearchNode

SPACE = EmbeddingSpace("p", "model", "", 8, "", normalized=True)
SOURCE = SourceResource(origin=TextsOrigin(documents=["x"]), carry=["kind"])
COUNT = 12


class Bench:
    """A store with some vectors, and engines over it."""

    def __init__(self, node: SearchNode, client: Any, database: str, folder: str) -> None:
        self.node, self.client, self.folder = node, client, folder
        self.database = database
        self.registry = Registry(client, database)
        self.store = self.open()
        self.lines: list[str] = []

    def open(self, **settings: Any) -> VectorStore:
        name = self.database
        resource = VectorStoreResource(database=name, collection="vectors", **settings)
        return resource.open(self.client, SOURCE, SPACE, "films", scale_of=lambda _: 100.0)

    def fill(self, count: int = COUNT) -> None:
        rows = []
        for number in range(count):
            chunk = Chunk.whole(
                number, f"text {number}", {"kind": "even" if number % 2 == 0 else "odd"}
            )
            at = datetime(2026, 11, 24, tzinfo=UTC)
            lineage = Lineage(SPACE.id, "model", chunk.text_hash, "batch", "run", at)
            rows.append((chunk, vector(number), lineage))
        VectorWriter(self.store).write(rows)

    def engine(self, **settings: Any) -> SearchEngine:
        declared = SearchIndexResource(
            **{"engine": "mongodb", "filter_fields": ["kind"], "poll_seconds": 0.01, **settings}
        )
        return declared.open(
            self.client,
            store=self.store,
            batches=BatchStore(self.folder),
            registry=self.registry,
            space=SPACE,
            pipeline="films",
            log=self.lines.append,
        )

    def drop(self) -> None:
        self.client.drop_database(self.database)
        self.client.close()

    def sent(self, command: str) -> list[dict[str, Any]]:
        return [body for body in self.node.commands if command in body]


def vector(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return values / np.linalg.norm(values)
