"""What the settings of a pipeline lead to, in one of its spaces: servers, stores, an engine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from pymongo import MongoClient

from assets.work import preflight
from assets.work.configured import Configured
from assets.work.plan import Plan, plan_of_run
from resources.batch_store.store import BatchStore
from resources.core.errors import LeaseError
from resources.core.lane import Finished, Lane, unknown
from resources.core.lineage import lineage_path
from resources.core.once import once
from resources.core.space import EmbeddingSpace
from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.provider import Where
from resources.mongodb.lease import Lease, held
from resources.registry.neighbours import Neighbours, neighbours
from resources.registry.quotas import Quota
from resources.registry.registry import Registry
from resources.rerankers.base import Reranker
from resources.rerankers.provider import Stored
from resources.search_index.engine import SearchEngine
from resources.vector_store.store import VectorStore


class Parts(Configured):
    """Each made once, and only when it is asked for.

    Args:
        name: Of the pipeline.
        resource: Gives a resource by its key.
        stack: Closes what was opened.
        run: Id of the Dagster run, or of whoever else is at work; empty for who only looks.
        log: Takes lines of progress.
        warn: Takes what a person should notice.
        finished: Tells whether another run has ended; None where that is not known.
        given: By a resource's key, what a run's config says on top of its settings' defaults.

    Attributes:
        lease: While the pipeline is held: see `work`.
        holds: Whether it is.
        place: Of the space that this works on: see `SpaceEntry`.
        shards: In how many the work on that space is divided.
        shard: Which of them this is at work on; None for the whole.
    """

    lease: Lease
    holds = False
    place = ""
    shards = 1
    shard: int | None = None

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
        given: Callable[[str], Mapping[str, Any]] = lambda key: {},
    ) -> None:
        self.name, self.run, self.log, self.warn = name, run, log, warn
        self.finished = finished
        self._stack = stack
        super().__init__(resource, given)

    @property
    def beside(self) -> str | None:
        """Path of the space that serves, where this one lies beside it in the same documents."""
        return None

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
        where = Stored(self.store.searched, self.store.text_shape) if stored else None
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
    def quota(self) -> Quota | None:
        """That the embedder keeps together with other pipelines; None where it has its own."""
        wanted = self.embedder.quota
        return wanted and self.registry.quota(wanted, self.name, self.warn)

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
        found = self.vector_store.open(
            self.client,
            self.source,
            self.space,
            self.name,
            scale_of=self.registry.spaces.int8_scale,
        )
        if self.beside is not None and not found.in_place:
            found.beside = lineage_path(self.beside)
        return found

    @once
    def batches(self) -> BatchStore:
        return self.batch_store.open()

    @property
    def lane(self) -> Lane:
        return Lane(self.name, self.space.id, self.shard, self.place)

    @once
    def plan(self) -> Plan:
        """The plan that the run made, or chose at its first step; outside a run the newest."""
        return plan_of_run(
            self.batches,
            self.lane,
            self.embedder_space,
            self.run,
            shards=self.shards,
            pin=self.holds,
            log=self.log,
            check=self._check_newest if self.holds else lambda newest: None,
        )

    def _check_newest(self, newest: str | None) -> None:
        self.registry.plans.check(self.lane, newest, self.batch_store.describe())

    @once
    def neighbours(self) -> Neighbours:
        return neighbours(
            self.store, self.client, self.registry, self.space, cut=self.embedder.truncates
        )

    @property
    def index_key(self) -> str:
        return self.vector_store.key(self.source).index(self.search_index.name)

    @once
    def engine(self) -> SearchEngine:
        """What serves the index: `engine: auto` keeps to the engine that made it."""
        made = self.registry.indexes.get(self.index_key)
        return self._engine(made.engine if made else None, lambda line: None)

    @once
    def wanted_engine(self) -> SearchEngine:
        """What an index that is made now gets; the log is told why."""
        return self._engine(None, self.log)

    def drop_index(self) -> None:
        """Remove the index of this space, whichever engine made it; it may be gone already.

        Raises:
            SearchIndexError: The server refuses.
        """
        made = self.registry.indexes.get(self.index_key)
        engine = self._engine(made.engine if made else None, lambda line: None)
        engine.drop()
        self.registry.indexes.forget(self.index_key)

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

    def check_newest(self) -> None:
        """Refuse to go on by a plan after which another run has made one.

        Raises:
            LeaseError: One has, while this run held nothing: before a step is tried again, or for
                as long as no worker was free to go on.
        """
        newest = self.batches.plans.newest(self.lane.name)
        if newest["id"] != self.plan.id:
            raise LeaseError(
                f"run {self.run} was waiting, and run {newest['run']} has planned the work of "
                f"{self.lane} since: this one goes no further, the newer one has it all"
            )

    @contextmanager
    def work(
        self,
        *,
        last: bool = True,
        one_process: bool = True,
        wait_seconds: float | None = None,
        keep: Callable[[BaseException], bool] = lambda error: False,
    ) -> Iterator[None]:
        """Hold the pipeline: one run at a time.

        Args:
            last: Nothing of the run comes after this.
            one_process: All that the run does is done in this process.
            wait_seconds: For another run to end; default: as `mongodb` says.
            keep: Whether the run goes on after an error, and holds it until then.

        Raises:
            LeaseError: Another run holds it.
        """
        with held(
            self.client,
            self.mongodb.registry,
            self.lane,
            self.run,
            seconds=self.mongodb.lease_seconds,
            wait_seconds=self.mongodb.lease_wait_seconds if wait_seconds is None else wait_seconds,
            last=last,
            one_process=one_process,
            finished=self.finished,
            log=self.log,
            keep=keep,
        ) as self.lease:
            self.holds = True
            try:
                yield
            finally:
                self.holds = False
