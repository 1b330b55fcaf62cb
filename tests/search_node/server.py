"""The proxy: passes on what is not about search, and answers the rest."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pymongo
from pymongo.uri_parser import parse_uri

from tests.search_node import definitions, vector_search, wire
from tests.search_node.definitions import Refused
from tests.search_node.indexes import Index, Indexes
from tests.search_node.rerank import Reranking

NOT_ENABLED = (
    "Using Atlas Search Database Commands and the $listSearchIndexes aggregation stage requires "
    "additional configuration. Please connect to Atlas or an AtlasCLI local deployment to enable. "
    "For more information on how to connect, see https://dochub.mongodb.org/core/atlas-cli-deploy-local-reqs"
)
_SCORE = "__vectorSearchScore"
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
        stages = inner.get("pipeline") or [{}] if name == "aggregate" else [{}]
        stage = next(iter(stages[0]), "")
        if name not in _COMMANDS and stage not in ("$listSearchIndexes", "$vectorSearch"):
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
                wanted = stages[0][stage]
                if explained:
                    vector_search.check(wanted)
                    return {"stages": [{"$vectorSearch": wanted}], "ok": 1.0}
                rows = self._search(database, collection, wanted)
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
            if kind == "vectorSearch":
                definitions.validate(definition)
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
        definitions.validate(given["definition"])
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

    def _search(self, database: str, collection: str, stage: dict[str, Any]) -> list[Any]:
        vector_search.check(stage)
        index = self.indexes.find(database, collection, stage["index"])
        if index is None or not index.queryable or index.served is None:
            return []  # and no error
        at = self.client[database][collection]
        hits = vector_search.find(stage, index.served, at, self.lag)
        documents = {
            str(row["_id"]): row for row in at.find({"_id": {"$in": [h[0] for h in hits]}})
        }
        return [{**documents[str(key)], _SCORE: score} for key, score in hits]

    def _cursor(
        self, database: str, collection: str, rows: list[Any], stages: list[Any]
    ) -> dict[str, Any]:
        """The mongod itself carries out what follows the first stage."""
        if rows:
            given = {"$documents": {"$literal": rows}}
            pipeline = [given, *_with_score(stages), {"$unset": _SCORE}]
            rows = list(self.client[database].aggregate(pipeline))
        name = f"{database}.{collection}"
        return {"ok": 1.0, "cursor": {"id": 0, "ns": name, "firstBatch": rows}}


def _with_score(value: Any) -> Any:
    """`{$meta: "vectorSearchScore"}` as the field that holds it here."""
    if value == {"$meta": "vectorSearchScore"}:
        return f"${_SCORE}"
    if isinstance(value, dict):
        return {name: _with_score(inner) for name, inner in value.items()}
    return [_with_score(inner) for inner in value] if isinstance(value, list) else value


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, node: SearchNode, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.node, self.upstream = node, upstream
        self.sockets: set[socket.socket] = set()


class _Connection(socketserver.BaseRequestHandler):
    server: _Proxy  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        with socket.create_connection(self.server.upstream) as mongod:
            self.server.sockets |= {mongod, self.request}
            try:
                with suppress(OSError):
                    while (message := wire.read(self.request)) is not None:
                        self._pass(message, mongod)
            finally:
                self.server.sockets -= {mongod, self.request}

    def _pass(self, message: wire.Message, mongod: socket.socket) -> None:
        if message.code == wire.OP_MSG:
            answer = self.server.node.answer(message.body)
            if answer is not None:
                self.request.sendall(wire.reply(message, answer))
                return
            mongod.sendall(message.without_exhaust())
            if message.flags & wire.MORE_TO_COME:
                return
        else:
            mongod.sendall(message.raw)
        reply = wire.read(mongod)
        if reply is None:
            raise ConnectionError
        self.request.sendall(reply.raw)


@contextmanager
def search_node(mongod_uri: str) -> Iterator[SearchNode]:
    """A stand-in in front of a mongod, for as long as the block runs."""
    node = SearchNode(mongod_uri)
    ((host, port),) = parse_uri(mongod_uri)["nodelist"]
    with _Proxy(node, (host, port)) as proxy:
        node.uri = f"mongodb://127.0.0.1:{proxy.server_address[1]}/?directConnection=true"
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield node
        finally:
            proxy.shutdown()
            thread.join()
            for connection in list(proxy.sockets):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            node.client.close()
