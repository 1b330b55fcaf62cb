"""OpenAI's Batch API through the openai SDK: embeddings at half price, within 24 hours."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from resources.embedders.base import Refusal
from resources.embedders.batch.jobs import BatchAPI, Line, State
from resources.embedders.failures import RequestFailed, explained, usage_tokens
from resources.embedders.openai import VARIABLE, OpenAIProvider, as_failure
from resources.embedders.replies import decoded

T = TypeVar("T")

PRICE_FACTOR = 0.5

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_CLOCK_SKEW_SECONDS = 3600
_LOOKED_THROUGH = 10_000
"""Jobs of the account that a search for one of ours looks at, at most."""


class OpenAIBatchAPI(BatchAPI):
    """One request line per text, so that a text that is refused takes no other along.

    Args:
        options: Of every request, besides model and input.
    """

    # OpenAI allows 50,000 texts; results come as one file of up to 17 kB per text, read at once.
    max_texts = 10_000
    max_bytes = 200_000_000

    def __init__(self, provider: OpenAIProvider, options: Mapping[str, Any]) -> None:
        self._provider = provider
        self._body = {"model": provider.model, "encoding_format": "base64", **options}
        self._client: Any = None

    def line(self, custom_id: str, text: str) -> bytes:
        request = {
            "custom_id": custom_id,
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {**self._body, "input": self._provider.document_prompt + text},
        }
        return json.dumps(request).encode() + b"\n"

    def upload(self, name: str, data: bytes) -> str:
        return self._ask(lambda sdk: sdk.files.create(file=(name, data), purpose="batch").id)

    def create(self, file: str, labels: Mapping[str, str]) -> str:
        return self._ask(
            # The SDK would try again where only the answer was lost: a job too many.
            lambda sdk: (
                sdk.with_options(max_retries=0)
                .batches.create(
                    input_file_id=file,
                    endpoint="/v1/embeddings",
                    completion_window="24h",
                    metadata=dict(labels),
                )
                .id
            )
        )

    def find(self, labels: Mapping[str, str], since: datetime) -> str | None:
        oldest = since.timestamp() - _CLOCK_SKEW_SECONDS

        def search(sdk: Any) -> str | None:
            for batch in islice(sdk.batches.list(limit=100), _LOOKED_THROUGH):  # newest first
                if batch.created_at < oldest:
                    return None
                if labels.items() <= (batch.metadata or {}).items():
                    return batch.id
            return None

        return self._ask(search)

    def poll(self, job: str) -> State:
        import openai

        try:
            return self._ask(lambda sdk: _state(sdk.batches.retrieve(job)), openai.NotFoundError)
        except openai.NotFoundError:
            reason = "OpenAI does not know it: is OPENAI_API_KEY of the account that submitted it?"
            return State("missing", ended=True, reason=reason)

    def results(self, state: State) -> Iterator[Line]:
        import openai

        for file in state.files:
            try:
                data: bytes = self._ask(
                    lambda sdk, file=file: sdk.files.content(file).content, openai.NotFoundError
                )
            except openai.NotFoundError:
                continue  # removed by hand: its rows have no answer
            if not data.startswith(b"{"):
                raise RequestFailed("transient", "the results cannot be read")  # a proxy's page
            for line in data.split(b"\n"):
                if line.strip():
                    yield _line(line)

    def discard(self, file: str) -> None:
        import openai

        with suppress(openai.NotFoundError):
            self._ask(lambda sdk: sdk.files.delete(file), openai.NotFoundError)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, call: Callable[[Any], T], *expected: type[Exception]) -> T:
        try:
            return call(self._connection())
        except expected:
            raise
        except Exception as error:
            raise as_failure(error, self._provider.api_key) from error

    def _connection(self) -> Any:
        if self._client is None:
            import openai

            provider = self._provider
            self._client = openai.OpenAI(
                api_key=provider.api_key,
                base_url=provider.base_url,
                max_retries=provider.attempts - 1,
                timeout=provider.timeout_seconds,
            )
        return self._client


def _state(batch: Any) -> State:
    errors = (batch.errors and batch.errors.data) or []
    return State(
        batch.status,
        ended=batch.status in _ENDED,
        crowded=any(error.code == "token_limit_exceeded" for error in errors),
        reason=f"{errors[0].code}: {errors[0].message}" if errors else "",
        files=tuple(name for name in (batch.output_file_id, batch.error_file_id) if name),
    )


def _line(data: bytes) -> Line:
    """The answer that a line of a result file gives; one that makes no sense is a failure."""
    row = -1
    try:
        item = json.loads(data)
        row = int(item["custom_id"].rpartition("-")[2])
        response = item.get("response")
        if response is None:
            error = item["error"]
            return Line(row, failure=f"{error['code']}: {error['message']}")
        status, body = response["status_code"], response["body"]
        if status == 200:
            (answer,) = body["data"]
            tokens = usage_tokens(body.get("usage"))
            return Line(row, _vector(answer), -1 if tokens is None else tokens)
        failure = explained(status, {}, json.dumps(body), variable=VARIABLE)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Line(row, failure="a line of the results cannot be read")
    if failure.kind == "refused":
        return Line(row, refusal=Refusal(failure.said, failure.lasting))
    return Line(row, failure=failure.said)


def _vector(answer: Any) -> np.ndarray:
    """Empty where there is none: other lines tell whether it is the text's fault."""
    try:
        return decoded(answer["embedding"])
    except (KeyError, TypeError, ValueError):
        return np.zeros(0, np.float32)
