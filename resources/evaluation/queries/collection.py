"""Judged queries in a collection of the pipeline's deployment."""

from functools import partial
from typing import Literal

from pydantic import Field

from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.provider import Where
from resources.evaluation.queries.reading import JudgedRecords, RecordQueries
from resources.sources.collection import CollectionOrigin


class CollectionQueries(JudgedRecords, CollectionOrigin):
    """A query a document of a collection of your own, which is only read.

    `embeddings queries PIPELINE import` puts a file into a collection of ours: `imported`.
    """

    kind: Literal["collection"] = "collection"
    id_field: str = Field(
        default="_id",
        description="The query's name; one that has none is named after what it asks.",
    )

    def open(self, where: Where) -> QuerySet:
        records = partial(self.records, client=where.client, limit=None)
        return RecordQueries(self.describe(), records, self.shape(), "collection")
