"""The resources of a pipeline by name, each asked for once, and only when it is needed."""

from collections.abc import Callable, Mapping
from typing import Any

from resources.alerts.resource import AlertsResource
from resources.batch_store.resource import BatchStoreResource
from resources.core.config import StrictResource
from resources.core.once import once
from resources.embedders.resource import EmbedderResource
from resources.evaluation.resource import EvaluationResource
from resources.freshness.resource import FreshnessResource
from resources.model_change.resource import ModelChangeResource
from resources.mongodb.resource import MongoDBResource
from resources.rerankers.resource import RerankResource
from resources.runs.resource import RunsResource
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource

RESOURCES: dict[str, type[StrictResource]] = {
    "source": SourceResource,
    "embedder": EmbedderResource,
    "mongodb": MongoDBResource,
    "vector_store": VectorStoreResource,
    "search_index": SearchIndexResource,
    "batch_store": BatchStoreResource,
    "rerank": RerankResource,
    "evaluation": EvaluationResource,
    "model_change": ModelChangeResource,
    "freshness": FreshnessResource,
    "runs": RunsResource,
    "alerts": AlertsResource,
}
"""The same keys in every pipeline, so that any YAML fragment fits any of them."""


class Configured:
    """A pipeline's settings.

    Args:
        resource: Gives a resource by its key.
        given: By a resource's key, what a run's config says on top of its settings' defaults.
    """

    def __init__(
        self, resource: Callable[[str], Any], given: Callable[[str], Mapping[str, Any]]
    ) -> None:
        self._resource, self.given = resource, given

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
    def model_change(self) -> ModelChangeResource:
        return self._resource("model_change")
