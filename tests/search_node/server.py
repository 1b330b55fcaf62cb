"""What is about search is answered here."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pymongo

from tests.search_node import (
    content,
    definitions,
    fusion,
    text_definitions,
    text_search,
    vector_search,
)
from tests.search_node.definitions import Refused
from tests.search_node.indexes import Index, Indexes
from tests.search_node.rerank import Reranking

NOT_ENABLED = (
    "Using Atlas Search Database Commands and the $listSearchIndexes aggregation stage requires "
    "additional configuration. Please connect to Atlas or an AtlasCLI local deployment to enable. "
    "For more information on how to connect, see https://dochub.mongodb.org/core/atlas-cli-deploy-local-reqs"
)
_METADATA = "__"
"""Before the name of what `$meta` reads; nothing that begins so comes out."""
_SEARCHES = ("$vectorSearch", "$search")
_COMMANDS = ("createSearchIndexes", "updateSearchIndex", "dropSearchIndex")


class SearchNode:
    """What a test scripts, and looks at.

    Attributes:
        uri: Where to connect.
        enabled: Off, it is a mongod that knows no search.
        build_polls: How often a new definition is listed before it is READY.
        statuses: Statuses of the next build, instead; a lasting one (FAILED, STALE) stays.
        failure: The message of a build that FAILED.
        delete_polls: How often a dropped index is listed as DELETING.
        max_indexes: As on a free cluster; None for no limit.
        lag: So many documents have not reached the index.
        int8_too: It makes bits of int8 as of floats, as Atlas does since 19 October 2026.
        version: Of MongoDB, as `8.0.4`; None for the mongod's own.
        reranking: The stage `$rerank`, which is off.
        commands: What was intercepted, as received.
    """

    def __init__(self, mongod_uri: str) -> None:
        self.enabled = True
        self.build_polls = 0
        self.statuses: list[str] | None = None
        self.failure = "the index could not be built"
        self.delete_polls = 0
        self.max_indexes: int | None = None
        self.lag = 0
        self.int8_too = False
        self.version: str | None = None
        self.commands: list[dict[str, Any]] = []
        self.indexes = Indexes()
        self.reranking = Reranking()
        self.client: pymongo.MongoClient = pymongo.MongoClient(
            mongod_uri, uuidRepresentation="standard"
        )
        self.uri = ""
        self._lock = threading.Lock()
        self._failing: dict[str, Refused] = {}
        self._severed: set[str] = set()

    def fail_next(self, command: str, code: int, name: str, message: str) -> None:
        """The next such command (`$vectorSearch` and `$listSearchIndexes` too) is refused."""
        self._failing[command] = Refused(code, name, message)

    def sever_next(self, command: str) -> None:
        """The connection is cut instead of the next answer to such a command."""
        self._severed.add(command)

    def answer(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The reply to a command about search; None for all others, which are the mongod's.

        Raises:
            ConnectionError: The connection is to be cut.
        """
        if self.reranking.asked(body):
            return self.reranking.answer(self.client, body)
        command = next(iter(body))
        explained = command == "explain"
        inner = body["explain"] if explained else body
        name = next(iter(inner))
        if name.lower() == "buildinfo" and self.version:
            parts = [int(part) for part in self.version.split(".")]
            said = {"version": self.version, "versionArray": [*parts, 0]}
            return {**self.client.admin.command("buildInfo"), **said}
        stages = inner.get("pipeline") or [{}] if name == "aggregate" else [{}]
        stage = next(iter(stages[0]), "")
        known = ("$listSearchIndexes", *_SEARCHES, *(fusion.STAGES if self.version else ()))
        if name not in _COMMANDS and stage not in known:
            return None
        asked = name if name in _COMMANDS else stage
        with self._lock:
            self.commands.append(body)
            if asked in self._severed:
                self._severed.discard(asked)
                raise ConnectionError
            try:
                if not self.enabled:
                    raise Refused(31082, "SearchNotEnabled", NOT_ENABLED)
                if asked in self._failing:
                    raise self._failing.pop(asked)
                database, collection = body["$db"], inner[name]
                match asked:
                    case "createSearchIndexes":
                        return self._create(database, collection, inner["indexes"])
                    case "updateSearchIndex":
                        return self._update(database, collection, inner)
                    case "dropSearchIndex":
                        return self._drop(database, collection, inner)
                    case "$listSearchIndexes":
                        rows = self._list(database, collection, stages[0][stage])
                        return self._cursor(database, collection, rows, stages[1:])
                if stage in fusion.STAGES:
                    rows = self._fuse(database, collection, stage, stages[0][stage])
                    return self._cursor(database, collection, rows, stages[1:])
                if explained:
                    _KINDS[stage].check(stages[0][stage])
                    return {"stages": [stages[0]], "ok": 1.0}
                rows = self._search(database, collection, stage, stages[0][stage])
                return self._cursor(database, collection, rows, stages[1:])
            except Refused as refused:
                return {
                    "ok": 0.0,
                    "errmsg": str(refused),
                    "code": refused.code,
                    "codeName": refused.name,
                }

    def _script(self) -> list[str]:
        script, self.statuses = self.statuses, None
        if script is not None:
            return script
        return ["PENDING", *["BUILDING"] * self.build_polls][: self.build_polls]

    def _create(self, database: str, collection: str, wanted: list[dict[str, Any]]) -> Any:
        if collection not in self.client[database].list_collection_names():
            raise Refused(26, "NamespaceNotFound", f"Collection '{collection}' does not exist.")
        created = []
        for given in wanted:
            name, kind = given.get("name", "default"), given.get("type", "search")
            definition = given["definition"]
            _validate(kind, definition)
            index = self.indexes.find(database, collection, name)
            if index is None:
                if self.max_indexes is not None and len(self.indexes) >= self.max_indexes:
                    raise Refused(
                        125,
                        "CommandFailed",
                        "The maximum number of FTS indexes has been reached for this instance "
                        "size.",
                    )
                index = Index(database, collection, name, kind, definition, self._script())
                index.message = self.failure
                self.indexes.add(index)
            elif index.definition != definition or index.status == "DELETING":
                raise Refused(
                    125,
                    "CommandFailed",
                    f"Index {name} already exists with a different definition. Drop it first if "
                    "needed.",
                )
            created.append({"id": index.id, "name": name})
        return {"ok": 1.0, "indexesCreated": created}

    def _found(self, database: str, collection: str, name: str) -> Index:
        index = self.indexes.find(database, collection, name)
        if index is None:
            raise Refused(27, "IndexNotFound", f"Index '{name}' not found.")
        return index

    def _update(self, database: str, collection: str, given: dict[str, Any]) -> dict[str, Any]:
        index = self._found(database, collection, given["name"])
        _validate(index.type, given["definition"])
        index.message = self.failure
        index.declare(given["definition"], self._script())
        return {"ok": 1.0}

    def _drop(self, database: str, collection: str, given: dict[str, Any]) -> dict[str, Any]:
        index = self._found(database, collection, given["name"])
        index.status, index.script = "DELETING", ["DELETING"] * self.delete_polls
        return {"ok": 1.0}

    def _list(self, database: str, collection: str, wanted: dict[str, str]) -> list[Any]:
        return [
            index.entry(self._documents(index))
            for index in self.indexes.listed(database, collection, **wanted)
        ]

    def _documents(self, index: Index) -> int:
        """Documents, not vectors: mongot writes a Lucene document for each one of the collection.

        Source: `SingleLuceneIndexWriter` (every insert and update becomes one, whatever fields it
        has) and `DocCounts` of mongot.
        """
        if index.served is None:
            return 0
        collection = self.client[index.database][index.collection]
        return max(0, collection.count_documents({}) - self.lag)

    def _search(
        self, database: str, collection: str, kind: str, stage: dict[str, Any]
    ) -> list[Any]:
        """Documents with their scores, in order."""
        how = _KINDS[kind]
        how.check(stage)
        index = self.indexes.find(database, collection, stage.get("index", "default"))
        if index is None or not index.queryable or index.served is None:
            return []  # and no error
        if index.type != kind.strip("$"):
            raise definitions.invalid(f"the index {index.name} is of type {index.type}")
        at = self.client[database][collection]
        hits = how.find(stage, index.served, at, self.lag, self.int8_too)
        found = list(at.find({"_id": {"$in": [h[0] for h in hits]}}))
        if stage.get("returnStoredSource"):
            source = index.served.get("storedSource")
            if not source:
                raise definitions.invalid(
                    f"returnStoredSource needs a storedSource, which {index.name} has not"
                )
            found = content.stored(found, source, at)
        documents = {repr(row["_id"]): row for row in found}
        # What was deleted since is not there to be looked up.
        return [
            {**documents[repr(key)], f"{_METADATA}{how.score}": score}
            for key, score in hits
            if repr(key) in documents
        ]

    def _fuse(self, database: str, collection: str, stage: str, body: dict[str, Any]) -> list[Any]:
        assert self.version
        fusion.check(stage, body, self.version)
        lists = {}
        for name, stages in body["input"]["pipelines"].items():
            ((first, wanted),) = stages[0].items()
            if first not in _SEARCHES:
                raise definitions.invalid(f"the stand-in begins no input with {first}")
            rows = self._search(database, collection, first, wanted)
            score = f"{_METADATA}{_KINDS[first].score}"
            lists[name] = [
                (row, row.pop(score)) for row in self._continued(database, rows, stages[1:])
            ]
        rows = fusion.fused(stage, body, lists, f"{_METADATA}scoreDetails")
        order = [{"$sort": {f"{_METADATA}scoreDetails.value": -1, "_id": 1}}]
        return self._continued(database, rows, order)

    def _cursor(
        self, database: str, collection: str, rows: list[Any], stages: list[Any]
    ) -> dict[str, Any]:
        rows = self._continued(database, rows, [*stages, _without_metadata(rows)])
        name = f"{database}.{collection}"
        return {"ok": 1.0, "cursor": {"id": 0, "ns": name, "firstBatch": rows}}

    def _continued(self, database: str, rows: list[Any], stages: list[Any]) -> list[Any]:
        """The mongod itself carries out what follows the first stage."""
        if not rows:
            return []
        given = {"$documents": {"$literal": rows}}
        return list(self.client[database].aggregate([given, *_with_metadata(stages)]))


def _without_metadata(rows: list[Any]) -> dict[str, Any]:
    hidden = {name for row in rows for name in row if name.startswith(_METADATA)}
    return {"$unset": sorted(hidden) or f"{_METADATA}none"}


def _with_metadata(value: Any) -> Any:
    """`{$meta: "searchScore"}` as the field that holds it here."""
    if isinstance(value, dict):
        if set(value) == {"$meta"}:
            return f"${_METADATA}{value['$meta']}"
        return {name: _with_metadata(inner) for name, inner in value.items()}
    return [_with_metadata(inner) for inner in value] if isinstance(value, list) else value


def _validate(kind: str, definition: dict[str, Any]) -> None:
    (definitions if kind == "vectorSearch" else text_definitions).validate(definition)


@dataclass(frozen=True)
class _Kind:
    """How one of the search stages is checked and carried out, and what `$meta` calls its score."""

    check: Callable[..., Any]
    find: Callable[..., list[tuple[Any, float]]]
    score: str


_KINDS = {
    "$vectorSearch": _Kind(vector_search.check, vector_search.find, "vectorSearchScore"),
    "$search": _Kind(text_search.check, text_search.find, "searchScore"),
}
