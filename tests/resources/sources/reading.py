"""Short ways to read a source in a test."""

import json
from pathlib import Path
from typing import Any

import pymongo

from resources.sources.records import EXCERPT_LENGTH, RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource


def source(origin: dict[str, Any], **settings: Any) -> SourceResource:
    """A source from what a run config would hold."""
    return SourceResource(origin=origin, **settings)  # pyright: ignore[reportArgumentType]


def read(
    resource: SourceResource, client: pymongo.MongoClient | None = None
) -> tuple[list[SourceDocument], list[RejectedRecord]]:
    documents, rejections = [], []
    for record in resource.read(client):
        (documents if isinstance(record, SourceDocument) else rejections).append(record)
    for rejection in rejections:
        # What is reported must itself be storable, and short.
        (rejection.where + rejection.reason + rejection.excerpt).encode("utf-8")
        assert len(rejection.excerpt) <= EXCERPT_LENGTH
    return documents, rejections


def reasons(rejections: list[RejectedRecord]) -> dict[str, str]:
    """Reason by the last part of where: the line number."""
    return {rejection.where.rpartition(":")[2]: rejection.reason for rejection in rejections}


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def lines(*records: Any) -> str:
    """The content of a JSONL file."""
    return "".join(f"{json.dumps(record)}\n" for record in records)
