"""The resource `evaluation`: which judged queries tell how good searches are, and when they are."""

from typing import Literal

from pydantic import Field, field_validator

from resources.core.config import StrictResource
from resources.evaluation.judged import QuerySet
from resources.evaluation.measures import MEASURES
from resources.evaluation.queries.by_model import ByModelQueries
from resources.evaluation.queries.collection import CollectionQueries
from resources.evaluation.queries.files import CsvQueries, JsonlQueries, ParquetQueries
from resources.evaluation.queries.generated import GeneratedQueries
from resources.evaluation.queries.imported import ImportedQueries
from resources.evaluation.queries.none import NoQueries
from resources.evaluation.queries.provider import Where
from resources.evaluation.queries.trec import TrecQueries


class EvaluationResource(StrictResource):
    """How good searches are, measured on judged queries; off unless `queries` are given."""

    queries: (
        NoQueries
        | JsonlQueries
        | CsvQueries
        | ParquetQueries
        | TrecQueries
        | CollectionQueries
        | ImportedQueries
        | GeneratedQueries
        | ByModelQueries
    ) = Field(
        default=NoQueries(),
        discriminator="kind",
        description="Exactly one way to judged queries: judged ones in files or a collection, or "
        "queries made from the documents; none: nothing is measured.",
    )
    mode: Literal["vector", "text", "hybrid"] = Field(
        default="vector", description="How the queries are asked."
    )
    rerank: bool = Field(
        default=True, description="Whether the pipeline's reranker, if it has one, takes part."
    )
    segments: list[str] = Field(
        default=[],
        description="Carried fields by which the figures are told apart: of the first relevant "
        "document of each query.",
    )
    min: dict[str, float] = Field(
        default={},
        description="What is enough, by measure, such as {ndcg@10: 0.4}; below it the check "
        "`good_enough` fails. Measures: " + ", ".join(MEASURES) + ".",
    )
    tolerance: float = Field(
        default=0.02,
        ge=0,
        description="How much worse than before each measure may get before the check "
        "`no_worse_than_before` fails.",
    )
    min_queries: int = Field(
        default=50, ge=1, description="Of fewer queries it is said that they tell little."
    )

    @field_validator("min")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name, least in value.items():
            if name not in MEASURES:
                raise ValueError(f"there is no measure {name!r}; there are {', '.join(MEASURES)}")
            if not 0 <= least <= 1:
                raise ValueError(f"{name} is between 0 and 1, not {least!r}")
        return value

    @property
    def chosen(self) -> bool:
        """Whether anything is measured."""
        return not isinstance(self.queries, NoQueries)

    def open(self, where: Where) -> QuerySet:
        """The judged queries.

        Raises:
            EvaluationError: There are none, or they cannot be had.
        """
        return self.queries.open(where)
