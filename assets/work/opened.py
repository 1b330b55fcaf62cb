"""A pipeline, opened: what its settings lead to, each part once and only when it is asked for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pymongo import MongoClient

from assets.work import preflight
from assets.work.plan import Plan, plan_of_run
from resources.batch_store.resource import BatchStoreResource
from resources.batch_store.store import BatchStore
from resources.core.config import StrictResource
from resources.core.lane import Finished, Lane, unknown
from resources.core.once import once
from resources.core.space import EmbeddingSpace
from resources.embedders.resource import EmbedderResource
from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.provider import Where
from resources.evaluation.resource import EvaluationResource
from resources.mongodb.lease import Lease, held
from resources.mongodb.resource import MongoDBResource
from resources.registry.neighbours import Neighbours, neighbours
from resources.registry.registry import Registry
from resources.rerankers.base import Reranker
from resources.rerankers.provider import Stored
from resources.rerankers.resource import RerankResource
from resources.search_index.engine import SearchEngine
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore

RESOURCES: dict[str, type[StrictResource]] = {
    "source": SourceResource,
    "embedder": EmbedderResource,
    "mongodb": MongoDBResource,
    "vector_store": VectorStoreResource,
    "search_index": SearchIndexResource,
    "batch_store": BatchStoreResource,
    "rerank": RerankResource,
    "evaluation": EvaluationResource,
}
"""The same keys in every pipeline, so that any YAML fragment fits any of them."""


class Opened:
    """What everything that is done with a pipeline goes through.

    Args:
        name: Of the pipeline.
        resource: Gives a resource by its key.
        stack: Closes what was opened.
        run: Id of the Dagster run, or of whoever else is at work; empty for who only looks.
        log: Takes lines of progress.
        warn: Takes what a person should notice.
        finished: Tells whether another run has ended; None where that is not known.

    Attributes:
        lease: While the pipeline is held: see `work`.
        holds: Whether it is.
    """

    lease: Lease
    holds = False

    def __init__(
        self,
        name: str,
        resource: Callable[[str], Any],
        stack: ExitStack,
        *,
        run: str = "",
        log: Callable[[str], None] = lambda line: None,
        warn: Callable[[str], None] = lambda line: None,
        finished: Finished = unknown,
    ) -> None:
        self.name, self.run, self.log, self.warn = name, run, log, warn
        self.finished = finished
        self._resource, self._stack = resource, stack

    def again(self) -> "Opened":
        """The same, for what the deployment says now: its settings and the client are kept."""
        renewed = Opened(
            self.name,
            self._resource,
            self._stack,
            run=self.run,
            log=self.log,
            warn=self.warn,
            finished=self.finished,
        )
        kept = {*RESOURCES, "reranker", "client", "batches"} & vars(self).keys()
        vars(renewed).update({name: vars(self)[name] for name in kept})
        return renewed

    @once
    def source(self) -> SourceResource:
        return self._resource("source")

    @once
    def embedder(self) -> EmbedderResource:
        return self._resource("embedder")

    @once
    def mongodb(self) -> MongoDBResource:
        return self._resource("mongodb")

    @once
    def vector_store(self) -> VectorStoreResource:
        return self._resource("vector_store")

    @once
    def search_index(self) -> SearchIndexResource:
        return self._resource("search_index")

    @once
    def batch_store(self) -> BatchStoreResource:
        return self._resource("batch_store")

    @once
    def reranker(self) -> RerankResource:
        return self._resource("rerank")

    @once
    def evaluation(self) -> EvaluationResource:
        return self._resource("evaluation")

    @once
    def where(self) -> Where:
        """What judged queries may be read from."""
        registry = self.client[self.mongodb.registry]
        return Where(self.name, self.client, registry, self.source)

    @once
    def judged_queries(self) -> QuerySet:
        """That tell how good searches are.

        Raises:
            EvaluationError: There are none.
        """
        return self.evaluation.open(self.where)

    def open_reranker(self, *, stored: bool = True) -> Reranker | None:
        """The reranker over the stored texts, its bill kept; None where nothing is reranked.

        Every call opens another; each is closed with everything else that was opened.

        Args:
            stored: What it reads is stored; else it is handed over, which not all of them take.

        Raises:
            EmbeddingsError: The settings cannot be used.
        """
        chosen = self.reranker
        if not chosen.chosen:
            return None
        facts, meter = chosen.facts(), None
        if facts.paid:
            meter = self.registry.reranked.meter(self.name, facts, self.warn)
            self._stack.callback(meter.close)
        where = Stored(self.store.collection, self.store.text_shape) if stored else None
        found = chosen.open(where, meter)
        if found is not None:
            self._stack.callback(found.close)
        return found

    @once
    def client(self) -> MongoClient:
        return self._stack.enter_context(self.mongodb.connect())

    @once
    def registry(self) -> Registry:
        return Registry(self.client, self.mongodb.registry)

    @once
    def embedder_space(self) -> EmbeddingSpace:
        """The space as the embedder names it; asks no server."""
        return self.embedder.space()

    @once
    def space(self) -> EmbeddingSpace:
        """The same as the store knows it: only a provider's address makes a difference there."""
        space = self.embedder_space
        if not space.endpoint:
            return space
        return self.registry.stores.settled_space(space, self.vector_store.key(self.source))

    @once
    def store(self) -> VectorStore:
        return self.vector_store.open(
            self.client,
            self.source,
            self.space,
            self.name,
            scale_of=self.registry.spaces.int8_scale,
        )

    @once
    def batches(self) -> BatchStore:
        return self.batch_store.open()

    @property
    def lane(self) -> Lane:
        return Lane(self.name, self.space.id)

    @once
    def plan(self) -> Plan:
        """The plan that the run made, or chose at its first step; outside a run the newest."""
        return plan_of_run(
            self.batches, self.name, self.embedder_space, self.run, pin=self.holds, log=self.log
        )

    @once
    def neighbours(self) -> Neighbours:
        return neighbours(
            self.store, self.client, self.registry, self.space, cut=self.embedder.truncates
        )

    @property
    def index_key(self) -> str:
        return self.store.key.index(self.search_index.name)

    @once
    def engine(self) -> SearchEngine:
        """What serves the index: `engine: auto` keeps to the engine that made it."""
        made = self.registry.indexes.get(self.index_key)
        return self._engine(made.engine if made else None, lambda line: None)

    @once
    def wanted_engine(self) -> SearchEngine:
        """What an index that is made now gets; the log is told why."""
        return self._engine(None, self.log)

    def _engine(self, served_by: str | None, log: Callable[[str], None]) -> SearchEngine:
        return self.search_index.open(
            self.client,
            store=self.store,
            batches=self.batches,
            registry=self.registry,
            space=self.space,
            pipeline=self.name,
            served_by=served_by,
            log=log,
        )

    def check_settings(self) -> None:
        """Refuse what contradicts itself, before a server is asked: see `preflight`."""
        preflight.check_settings(
            self.source, self.vector_store, self.search_index, self.embedder_space
        )

    def check(self) -> None:
        """The pre-flight: refuse what would stop a run, before it reads or spends anything."""
        self.check_settings()
        self.batches.check_writable()
        preflight.check_deployment(
            self.client,
            source=self.source,
            store=self.store,
            search_index=self.search_index,
            registry=self.registry,
            space=self.space,
        )

    @contextmanager
    def work(self, *, last: bool = True, one_process: bool = True) -> Iterator[None]:
        """Hold the pipeline: one run at a time.

        Args:
            last: Nothing of the run comes after this.
            one_process: All that the run does is done in this process.

        Raises:
            LeaseError: Another run holds it.
        """
        with held(
            self.client,
            self.mongodb.registry,
            self.lane,
            self.run,
            seconds=self.mongodb.lease_seconds,
            wait_seconds=self.mongodb.lease_wait_seconds,
            last=last,
            one_process=one_process,
            finished=self.finished,
            log=self.log,
        ) as self.lease:
            self.holds = True
            try:
                yield
            finally:
                self.holds = False
