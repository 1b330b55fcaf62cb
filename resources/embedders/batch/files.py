"""Batch jobs as OpenAI's Files and Batch API has them, through the openai SDK."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar, TypeVar

import numpy as np

from resources.embedders.base import Refusal
from resources.embedders.batch.jobs import BatchAPI, Line, State
from resources.embedders.failures import (
    RequestFailed,
    explained,
    of_openai_sdk,
    usage_tokens,
)

T = TypeVar("T")

_CLOCK_SKEW_SECONDS = 3600
_LOOKED_THROUGH = 10_000
"""Jobs of the account that a search for one of ours looks at, at most."""


class FilesBatchAPI(BatchAPI):
    """One request line per text, so that a text that is refused takes no other along."""

    name: ClassVar[str]
    variable: ClassVar[str]
    """Environment variable of the key."""
    window: ClassVar[str]
    """Within which a job is answered, in the provider's notation."""
    ended: ClassVar[frozenset[str]] = frozenset({"completed", "failed", "expired", "cancelled"})

    def __init__(self, *, key: str, base_url: str | None, attempts: int, timeout: float) -> None:
        self._key, self._base_url = key, base_url
        self._attempts, self._timeout = attempts, timeout
        self._client: Any = None

    # --- for providers

    @abstractmethod
    def request(self, text: str) -> dict[str, Any]:
        """What a line says beside its `custom_id`."""

    def parameters(self) -> dict[str, Any]:
        """What a job says beside what all jobs do."""
        return {}

    @abstractmethod
    def vector(self, embedding: Any) -> np.ndarray:
        """A row of a reply.

        Raises:
            TypeError, ValueError: It is not a list of numbers.
        """

    # --- for the lane

    def line(self, custom_id: str, text: str) -> bytes:
        return json.dumps({"custom_id": custom_id, **self.request(text)}).encode() + b"\n"

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
                    completion_window=self.window,
                    metadata=dict(labels),
                    extra_body=self.parameters(),
                )
                .id
            )
        )

    def find(self, labels: Mapping[str, str], since: datetime) -> str | None:
        oldest = since.timestamp() - _CLOCK_SKEW_SECONDS

        def search(sdk: Any) -> str | None:
            for batch in islice(sdk.batches.list(limit=100), _LOOKED_THROUGH):  # newest first
                if _seconds(batch.created_at) < oldest:
                    return None
                if labels.items() <= (batch.metadata or {}).items():
                    return batch.id
            return None

        return self._ask(search)

    def poll(self, job: str) -> State:
        import openai

        try:
            return self._ask(
                lambda sdk: self._state(sdk.batches.retrieve(job)), openai.NotFoundError
            )
        except openai.NotFoundError:
            reason = (
                f"{self.name} does not know it: is {self.variable} of the account that submitted "
                "it?"
            )
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
                    yield self._line(line)

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
            raise of_openai_sdk(error, self._key, self.variable) from error

    def _connection(self) -> Any:
        if self._client is None:
            import openai

            self._client = openai.OpenAI(
                api_key=self._key,
                base_url=self._base_url,
                max_retries=self._attempts - 1,
                timeout=self._timeout,
            )
        return self._client

    def _state(self, batch: Any) -> State:
        errors = (batch.errors and batch.errors.data) or []
        return State(
            batch.status,
            ended=batch.status in self.ended,
            crowded=any(error.code == "token_limit_exceeded" for error in errors),
            reason=f"{errors[0].code}: {errors[0].message}" if errors else "",
            files=tuple(name for name in (batch.output_file_id, batch.error_file_id) if name),
        )

    def _line(self, data: bytes) -> Line:
        """The answer that a line of a result file gives; one that makes no sense is a failure."""
        row = -1
        try:
            item = json.loads(data)
            row = int(item["custom_id"].rpartition("-")[2])
            response = item.get("response")
            if response is None:
                error = item["error"]
                return Line(row, failure=f"{error['code']}: {error['message']}")
            # Voyage AI puts its errors beside the status, OpenAI into a body.
            status, body = response["status_code"], response.get("body", response)
            if status == 200:
                (answer,) = body["data"]
                tokens = usage_tokens(body.get("usage"))
                return Line(row, self._vector(answer), -1 if tokens is None else tokens)
            failure = explained(status, {}, json.dumps(body), variable=self.variable)
        except (ValueError, KeyError, TypeError, AttributeError):
            return Line(row, failure="a line of the results cannot be read")
        if failure.kind == "refused":
            return Line(row, refusal=Refusal(failure.said, failure.lasting))
        return Line(row, failure=failure.said)

    def _vector(self, answer: Any) -> np.ndarray:
        """Empty where there is none: other lines tell whether it is the text's fault."""
        try:
            return self.vector(answer["embedding"])
        except (KeyError, TypeError, ValueError):
            return np.zeros(0, np.float32)


def _seconds(moment: Any) -> float:
    """Since 1970: OpenAI gives a number, Voyage AI an ISO date, in UTC where it says no zone."""
    if isinstance(moment, str):
        read = datetime.fromisoformat(moment)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    return float(moment)
