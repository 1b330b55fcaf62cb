"""What kind of collection a name stands for, and what a view reads."""

from typing import Any, Literal

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from resources.mongodb.deployment import UNAUTHORIZED

Kind = Literal["collection", "view", "timeseries", "missing"]


def kind_of(client: MongoClient, database: str, name: str) -> Kind:
    """Of a user who may not list collections it is taken for a plain one."""
    found = _listed(client, database, name)
    if found is None:
        return "missing"
    kind = found.get("type", "collection")
    return kind if kind in ("view", "timeseries") else "collection"


def underlying(client: MongoClient, database: str, name: str) -> str:
    """The collection that a view reads in the end, through views of views; else the name itself."""
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        found = _listed(client, database, name) or {}
        name = found.get("options", {}).get("viewOn") or name
    return name


def _listed(client: MongoClient, database: str, name: str) -> dict[str, Any] | None:
    try:
        found: Any = next(iter(client[database].list_collections(filter={"name": name})), None)
        return found
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return {}
