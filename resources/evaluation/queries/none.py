"""No judged queries: nothing is measured."""

from typing import Literal

from resources.core.errors import EvaluationError
from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.provider import QueriesProvider, Where


class NoQueries(QueriesProvider):
    """Nothing is measured."""

    kind: Literal["none"] = "none"

    def open(self, where: Where) -> QuerySet:
        raise EvaluationError(
            f"pipeline {where.pipeline} has no judged queries: give `evaluation` a way to some, "
            "such as `queries: {generated: {from: first_sentence}}`"
        )
