from collections.abc import Sequence
from typing import Any

from pymongo.database import Database

from resources.evaluation.queries.provider import Where
from resources.sources.inline import TextsOrigin
from resources.sources.resource import SourceResource


def where(
    database: Database | None = None, documents: Sequence[Any] = (), **settings: Any
) -> Where:
    """A pipeline `p` over these documents."""
    source = SourceResource(origin=TextsOrigin(documents=list(documents)), **settings)
    client: Any = database.client if database is not None else None
    registry: Any = database
    return Where("p", client, registry, source)
