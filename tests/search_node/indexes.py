"""Search indexes of the stand-in: what they are declared as, what they serve, their status."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LASTING = {"FAILED", "STALE", "DOES_NOT_EXIST"}


@dataclass
class Index:
    """One index; every time it is listed, its status goes a step further.

    Attributes:
        definition: As last declared.
        served: What searches get; None before the first build is done.
        script: Statuses to come, before READY.
    """

    database: str
    collection: str
    name: str
    type: str
    definition: dict[str, Any]
    script: list[str]
    served: dict[str, Any] | None = None
    version: int = 0
    served_version: int = 0
    status: str = "PENDING"
    message: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def declare(self, definition: dict[str, Any], script: list[str]) -> None:
        self.definition, self.script, self.status = definition, list(script), "PENDING"
        self.version += 1
        self.created = datetime.now(UTC)

    def step(self) -> bool:
        """Go on; False where the index is gone."""
        if self.script:
            self.status = self.script.pop(0)
        elif self.status == "DELETING":
            return False
        elif self.status not in LASTING:
            self.status, self.served, self.served_version = "READY", self.definition, self.version
        return True

    @property
    def queryable(self) -> bool:
        return self.served is not None and self.status not in ("FAILED", "DELETING")

    def entry(self, documents: int) -> dict[str, Any]:
        """As `$listSearchIndexes` shows it."""
        main: dict[str, Any] = {
            "status": "READY" if self.served else self.status,
            "queryable": self.queryable,
            "definitionVersion": {"version": self.served_version, "createdAt": self.created},
            "definition": self.served or self.definition,
        }
        detail = {
            "hostname": "search-node-0",
            "status": self.status,
            "queryable": self.queryable,
            "mainIndex": main,
        }
        if self.served is not None and self.served_version < self.version:
            detail["stagedIndex"] = {
                "status": self.status,
                "queryable": False,
                "definitionVersion": {"version": self.version, "createdAt": self.created},
                "definition": self.definition,
            }
        if self.status == "FAILED":
            failed = detail.get("stagedIndex", main)
            failed.update(status="FAILED", message=self.message)
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "status": self.status,
            "queryable": self.queryable,
            "latestDefinitionVersion": {"version": self.version, "createdAt": self.created},
            "latestDefinition": self.definition,
            "statusDetail": [detail],
            "numDocs": documents,
        }


class Indexes:
    """All indexes of the deployment."""

    def __init__(self) -> None:
        self._all: list[Index] = []

    def __len__(self) -> int:
        return len(self._all)

    def find(self, database: str, collection: str, name: str) -> Index | None:
        for index in self._all:
            if (index.database, index.collection, index.name) == (database, collection, name):
                return index
        return None

    def add(self, index: Index) -> None:
        self._all.append(index)

    def listed(self, database: str, collection: str, **wanted: str) -> Iterator[Index]:
        """Those of a collection, each a step further."""
        for index in list(self._all):
            if (index.database, index.collection) != (database, collection):
                continue
            if any(getattr(index, name) != value for name, value in wanted.items()):
                continue
            if index.step():
                yield index
            else:
                self._all.remove(index)
