"""What makes a kind of query set: settings, and how the set is opened from them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pymongo import MongoClient
from pymongo.database import Database

from resources.core.config import StrictConfig
from resources.evaluation.judged import QuerySet
from resources.sources.resource import SourceResource


@dataclass(frozen=True)
class Where:
    """What a set of queries may be read from.

    Attributes:
        registry: The database where we keep what all pipelines share.
        source: Of the pipeline, whose documents are the answers.
    """

    pipeline: str
    client: MongoClient
    registry: Database
    source: SourceResource


class QueriesProvider(StrictConfig, ABC):
    """Settings of every way; it has a field `kind`, a `Literal` with that as its default."""

    @abstractmethod
    def open(self, where: Where) -> QuerySet:
        """The set, to be read; nothing is read yet.

        Raises:
            EvaluationError: There can be none.
        """
