"""OpenAI's Files and Batch API for `/v1/embeddings`, and Voyage AI's, which is much like it.

A batch goes validating -> in_progress -> finalizing -> completed, one status every
`Behaviour.batch_polls` polls, or by `advance`. Lines are embedded on the way to finalizing, one
half of them for a batch that is cancelled or expires in progress.
"""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.providers.behaviour import Request
from tests.providers.server import Refused, Reply

if TYPE_CHECKING:
    from tests.providers.server import ProviderServer

MAX_INPUTS = 50_000
MAX_BYTES = 200 * 2**20
_NEXT = {"validating": "in_progress", "in_progress": "finalizing", "finalizing": "completed"}
_AT = {"validating": "created_at"}
"""Status -> the field with its time; the others are `<status>_at`."""


@dataclass
class StoredFile:
    id: str
    filename: str
    purpose: str
    data: bytes
    created_at: int = field(default_factory=lambda: int(time.time()))

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.data),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


@dataclass
class Batch:
    document: dict[str, Any]
    lines: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    polls: int = 0

    @property
    def status(self) -> str:
        return self.document["status"]

    def enter(self, status: str) -> None:
        self.document["status"] = status
        self.document[_AT.get(status, f"{status}_at")] = int(time.time())


class Batches:
    window = "24h"

    def __init__(self, server: "ProviderServer") -> None:
        self._server = server
        self._lock = threading.RLock()
        self.files: dict[str, StoredFile] = {}
        self.batches: dict[str, Batch] = {}
        self.lines: list[Request] = []
        """One record per embedded line, with path `/batches`."""

    # For tests.

    def advance(self, batch_id: str | None = None, *, to: str | None = None) -> str:
        """Move a batch (default: the latest) on by one status, or until `to`; its status."""
        with self._lock:
            batch = self._latest(batch_id)
            self._step(batch)
            while to is not None and batch.status != to and batch.status in _NEXT:
                self._step(batch)
            return batch.status

    def expire(self, batch_id: str | None = None) -> None:
        """End a batch as if its 24 hours were over, half done; the rest are errors."""
        with self._lock:
            self._stop(self._latest(batch_id), "expired", "batch_expired")

    def _latest(self, batch_id: str | None) -> Batch:
        return self.batches[batch_id or list(self.batches)[-1]]

    # The API.

    async def respond(self, http: web.Request, request: Request) -> Reply:
        # Read before the lock is taken: nothing may wait for a client while it is held.
        posts = http.method == "POST"
        form = await http.post() if posts and request.path == "/files" else None
        wanted = await http.json() if posts and request.path == "/batches" else {}
        with self._lock:
            match [http.method, *request.path.strip("/").split("/")]:
                case ["POST", "files"] if form is not None:
                    return _json(self._upload(form))
                case ["GET", "files", file_id]:
                    return _json(self._file(file_id).to_json())
                case ["GET", "files", file_id, "content"]:
                    return Reply(self._file(file_id).data, content_type="application/octet-stream")
                case ["DELETE", "files", file_id]:
                    del self.files[self._file(file_id).id]
                    return _json({"id": file_id, "object": "file", "deleted": True})
                case ["POST", "batches"]:
                    return _json(self._create(wanted))
                case ["GET", "batches"]:
                    return _json(self._list(http.query.get("after"), http.query.get("limit")))
                case ["GET", "batches", batch_id]:
                    return _json(self._poll(self._batch(batch_id)))
                case ["POST", "batches", batch_id, "cancel"]:
                    return _json(self._cancel(self._batch(batch_id)))
        raise Refused(404, f"Unknown request URL: {http.method} {request.path}")

    def _file(self, file_id: str) -> StoredFile:
        if file_id not in self.files:
            raise Refused(404, f"No such File object: {file_id}", param="id")
        return self.files[file_id]

    def _batch(self, batch_id: str) -> Batch:
        if batch_id not in self.batches:
            raise Refused(404, f"No batch found with id '{batch_id}'.")
        return self.batches[batch_id]

    def _upload(self, form: Any) -> dict[str, Any]:
        file, purpose = form.get("file"), form.get("purpose")
        if not isinstance(file, web.FileField) or purpose != "batch":
            raise Refused(400, "'file' and 'purpose' (batch) are required properties")
        data = file.file.read()
        if len(data) > MAX_BYTES:
            raise Refused(413, f"The file is larger than {MAX_BYTES} bytes.")
        return self._store(file.filename, "batch", data).to_json()

    def _store(self, filename: str, purpose: str, data: bytes) -> StoredFile:
        stored = StoredFile(f"file-{len(self.files) + 1:06d}", filename, purpose, data)
        self.files[stored.id] = stored
        return stored

    def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        source = self._file(wanted.get("input_file_id", ""))
        asked = wanted.get("endpoint"), wanted.get("completion_window")
        if asked != ("/v1/embeddings", self.window):
            raise Refused(400, f"This server takes endpoint /v1/embeddings, window {self.window}.")
        now = int(time.time())
        document = {
            "id": f"batch_{len(self.batches) + 1:06d}",
            "object": "batch",
            "endpoint": wanted["endpoint"],
            "input_file_id": source.id,
            "completion_window": self.window,
            "status": "validating",
            "created_at": now,
            "expires_at": now + 24 * 3600,
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": wanted.get("metadata"),
        }
        self.batches[document["id"]] = Batch(document)
        return document

    def _list(self, after: str | None, limit: str | None) -> dict[str, Any]:
        newest_first = [batch.document for batch in reversed(self.batches.values())]
        if after is not None:
            places = [place for place, item in enumerate(newest_first) if item["id"] == after]
            newest_first = newest_first[places[0] + 1 :] if places else []
        page = newest_first[: int(limit or 20)]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(page) < len(newest_first),
        }

    def _poll(self, batch: Batch) -> dict[str, Any]:
        batch.polls += 1
        every = self._server.behaviour.batch_polls
        if every and batch.polls % every == 0:
            self._step(batch)
        return batch.document

    def _cancel(self, batch: Batch) -> dict[str, Any]:
        if batch.status not in ("validating", "in_progress"):
            raise Refused(409, f"Cannot cancel a batch with status '{batch.status}'.")
        batch.enter("cancelling")
        return batch.document

    # How a batch runs.

    def _step(self, batch: Batch) -> None:
        if batch.status == "cancelling":
            self._stop(batch, "cancelled", "batch_cancelled")
            return
        status = _NEXT.get(batch.status)
        if status == "in_progress":
            found = self._validate(batch)
            if found:
                batch.document["errors"] = {"object": "list", "data": found}
                status = "failed"
            batch.document["request_counts"]["total"] = len(batch.lines)
        if status == "finalizing":
            self._run(batch, len(batch.lines))
        if status == "completed":
            self._publish(batch)
        if status is not None:
            batch.enter(status)

    def _stop(self, batch: Batch, status: str, code: str) -> None:
        """Keep what was done; the lines that were not become errors without a response."""
        self._run(batch, len(batch.lines) // 2)
        message = "This request was not executed before the batch ended."
        for line in batch.lines[batch.done :]:
            error = {"code": code, "message": message}
            batch.errors.append(_outcome(len(batch.errors), line, None, error))
        batch.document["request_counts"]["failed"] = len(batch.errors)
        self._publish(batch)
        batch.enter(status)

    def _validate(self, batch: Batch) -> list[dict[str, Any]]:
        """Errors of the whole batch, as the real API lists them; else `lines` is filled."""
        found, seen, models, inputs = [], set(), set(), 0
        data = self._file(batch.document["input_file_id"]).data
        for number, text in enumerate(data.decode().splitlines(), 1):
            try:
                line = json.loads(text)
                custom_id, body = str(line["custom_id"]), line["body"]
                texts = body["input"]
            except (ValueError, KeyError, TypeError):
                found.append(_complaint("invalid_json_line", "This line is not a request.", number))
                continue
            if custom_id in seen:
                found.append(_complaint("duplicate_custom_id", f"{custom_id} is used.", number))
            if not self._addressed(line):
                found.append(_complaint("invalid_url", "The URL is not the endpoint.", number))
            seen.add(custom_id)
            models.add(body.get("model"))
            inputs += 1 if isinstance(texts, str) else len(texts)
            batch.lines.append(line)
        if not found and not batch.lines:
            found.append(_complaint("empty_file", "The input file is empty.", None))
        if len(models) > 1:
            found.append(_complaint("mismatched_model", "All lines need one model.", None))
        if inputs > MAX_INPUTS:
            found.append(_complaint("too_many_tasks", f"More than {MAX_INPUTS} inputs.", None))
        return found

    def _addressed(self, line: dict[str, Any]) -> bool:
        return line.get("url") == "/v1/embeddings" and line.get("method") == "POST"

    def _options(self, batch: Batch, line: dict[str, Any]) -> dict[str, Any]:
        return dict(line["body"])

    def _response(self, status: int, number: int, body: dict[str, Any]) -> dict[str, Any]:
        return {"status_code": status, "request_id": f"req_{number}", "body": body}

    def _run(self, batch: Batch, until: int) -> None:
        for line in batch.lines[batch.done : until]:
            status, body = self._answer(line, self._options(batch, line))
            response = self._response(status, batch.done, body)
            into = batch.outputs if status == 200 else batch.errors
            into.append(_outcome(batch.done, line, response, None))
            batch.done += 1
        counts = batch.document["request_counts"]
        counts["completed"], counts["failed"] = len(batch.outputs), len(batch.errors)

    def _answer(self, line: dict[str, Any], options: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        server = self._server
        texts = options.pop("input")
        texts = [texts] if isinstance(texts, str) else texts
        now = time.monotonic()
        record = Request(len(self.lines), "POST", "/batches", {}, now, texts, options, status=200)
        record.tokens = sum(server.text_tokens(texts))
        try:
            fault = server.behaviour.batch_line_faults.get(line["custom_id"])
            if fault is not None:
                raise server.scripted(fault, record)
            body = server.embed(record)
            record.served = True
        except Refused as refused:
            record.status, body = refused.status, server.error(refused)
        record.answered = time.monotonic()
        self.lines.append(record)
        return record.status or 0, body

    def _publish(self, batch: Batch) -> None:
        """Files only for what there is; not in the order of the input, which nobody promises."""
        kinds: dict[str, Sequence[dict[str, Any]]] = {
            "output": batch.outputs,
            "error": batch.errors,
        }
        for kind, items in kinds.items():
            if items:
                data = b"".join(json.dumps(item).encode() + b"\n" for item in reversed(items))
                name = f"{batch.document['id']}_{kind}.jsonl"
                stored = self._store(name, "batch_output", data)
                batch.document[f"{kind}_file_id"] = stored.id


class VoyageBatches(Batches):
    """As https://docs.voyageai.com/docs/batch-inference has it.

    Model and options are the job's, moments are ISO dates, an error stands beside its status, a job
    that ran out of time is completed, and one too many is refused with 429.
    """

    window = "12h"
    max_in_flight = 100

    async def respond(self, http: web.Request, request: Request) -> Reply:
        reply = await super().respond(http, request)
        if request.path.startswith("/batches"):
            reply = replace(reply, body=json.dumps(_dated(json.loads(reply.body))).encode())
        return reply

    def expire(self, batch_id: str | None = None) -> None:
        with self._lock:
            self._stop(self._latest(batch_id), "completed", "batch_expired")

    def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if not wanted.get("request_params", {}).get("model"):
            raise Refused(400, "request_params.model is required.")
        running = [batch for batch in self.batches.values() if batch.status in _NEXT]
        if len(running) >= self.max_in_flight:
            raise Refused(429, f"You have {len(running)} in-flight batches already.")
        document = super()._create(wanted)
        document["request_params"] = wanted["request_params"]
        return document

    def _addressed(self, line: dict[str, Any]) -> bool:
        return line.keys() == {"custom_id", "body"} and line["body"].keys() == {"input"}

    def _options(self, batch: Batch, line: dict[str, Any]) -> dict[str, Any]:
        return batch.document["request_params"] | line["body"]

    def _response(self, status: int, number: int, body: dict[str, Any]) -> dict[str, Any]:
        if status != 200:
            return {"status_code": status, "message": body["detail"]}
        return {"status_code": status, "body": body}


def _dated(document: Any) -> Any:
    if isinstance(document, list):
        return [_dated(item) for item in document]
    if not isinstance(document, dict):
        return document
    return {
        name: datetime.fromtimestamp(value, UTC).isoformat()
        if name.endswith("_at") and isinstance(value, int)
        else _dated(value)
        for name, value in document.items()
    }


def _json(document: dict[str, Any]) -> Reply:
    return Reply(json.dumps(document).encode())


def _complaint(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}


def _outcome(
    number: int, line: dict[str, Any], response: dict[str, Any] | None, error: Any
) -> dict[str, Any]:
    return {
        "id": f"batch_req_{number:06d}",
        "custom_id": line["custom_id"],
        "response": response,
        "error": error,
    }
