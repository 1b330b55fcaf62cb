"""How a provider's server misbehaves, changeable while it runs, and what it wrote down."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

Fault = (
    int
    | Literal[
        "reset",  # connection reset instead of an answer
        "hang",  # no answer, the connection stays open
        "slow_body",  # the body trickles in over `trickle_seconds`
        "drip",  # a byte of the body now and then, without end
        "stall",  # half the body, then nothing
        "cut",  # half the body, then a reset
        "short",  # one vector missing
        "long",  # one vector too many
        "empty",  # no vector at all
        "reordered",  # rows reversed, each with its true index
        "duplicate_index",  # two rows claim index 0
        "nan",
        "nulls",  # of reranking: no score for any text
        "constant",  # of reranking: one score for every text
        "from_the_end",  # of reranking: positions counted from the end
        "wrong_width",  # every vector one dimension short
        "ragged",  # only the last vector one dimension short
        "not_unit",
        "no_index",  # rows claim no position
        "zero_index",  # every row claims index 0
        "from_one",  # rows are counted from one, and reversed
        "no_usage",
        "error_200",  # an error's JSON with status 200
        "html_502",
        "not_json",  # a proxy's HTML page with status 200
        "broken_json",  # application/json, cut off in the middle
        "no_credit",  # OpenAI's 429 that no waiting cures; Voyage: 403
    ]
)
"""An HTTP status, or one of the names."""

RowFault = Literal["null", "nulls", "nan", "nan_base64", "empty", "narrow", "not_unit", "words"]
"""What one text's row holds, in a reply that is sound otherwise."""

RetryAfter = Literal["seconds", "fraction", "date", "milliseconds"]


def count_tokens(text: str, characters_per_token: float = 4.0) -> int:
    """The servers' tokenizer: one token per four characters, rounded up."""
    return math.ceil(len(text) / characters_per_token)


@dataclass
class Request:
    """One HTTP request; times are `time.monotonic()`, taken on the server.

    Attributes:
        options: The JSON body without `input`.
        headers: Names in lower case, without `authorization`.
        status: What was answered; None for none (yet).
        billed: Vectors were computed, whether or not they arrived whole.
        served: A sound reply was written in full.
        abandoned: The client went away before the answer.
    """

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    arrived: float
    texts: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0
    fault: Fault | None = None
    status: int | None = None
    answered: float | None = None
    billed: bool = False
    served: bool = False
    abandoned: bool = False

    @property
    def model(self) -> str:
        return str(self.options.get("model", ""))


class _Bucket:
    """Starts full and refills evenly, as both providers describe their limits."""

    def __init__(self, size: float, window: float) -> None:
        self.size, self.rate = size, size / window
        self._level, self._at = size, time.monotonic()

    def level(self) -> float:
        now = time.monotonic()
        self._level = min(self.size, self._level + (now - self._at) * self.rate)
        self._at = now
        return self._level

    def wait(self, amount: float) -> float:
        """Seconds until the amount is there, as if it could be even where it exceeds the size."""
        return max(0.0, (amount - self.level()) / self.rate)

    def take(self, amount: float) -> None:
        self._level = max(0.0, self.level() - amount)


class Quota:
    """Requests and tokens per window; a request larger than the whole window is never admitted.

    Args:
        refused_count: Refused requests use up the request quota too, as OpenAI's do: a client
            that hammers stays locked out.
    """

    def __init__(
        self,
        *,
        requests: float | None = None,
        tokens: float | None = None,
        window: float = 60.0,
        refused_count: bool = False,
    ) -> None:
        self.window, self._refused_count = window, refused_count
        self._lock = threading.Lock()
        self.buckets: dict[str, _Bucket] = {}
        for name, size in {"requests": requests, "tokens": tokens}.items():
            if size is not None:
                self.buckets[name] = _Bucket(size, window)

    def admit(self, tokens: int) -> tuple[str, float] | None:
        """None and the request is paid for, or (which limit, seconds until it would pass)."""
        amounts = {"requests": 1.0, "tokens": float(tokens)}
        with self._lock:
            waits = {name: bucket.wait(amounts[name]) for name, bucket in self.buckets.items()}
            worst = max(waits, key=lambda name: waits[name], default="")
            refused = bool(worst) and waits[worst] > 0
            for name, bucket in self.buckets.items():
                if not refused or (self._refused_count and name == "requests"):
                    bucket.take(amounts[name])
        return (worst, waits[worst]) if refused else None

    def state(self) -> dict[str, tuple[int, int, float]]:
        """Name -> (limit, remaining, seconds until full)."""
        with self._lock:
            return {
                name: (int(bucket.size), int(bucket.level()), bucket.wait(bucket.size))
                for name, bucket in self.buckets.items()
            }


@dataclass
class Behaviour:
    """Every attribute may be assigned from any thread while the server runs.

    Attributes:
        key: The only API key that is accepted.
        latency: Seconds before each answer, or a function of the request.
        hold: No answer before this is false of the request.
        silent: Told of a request that gets no answer any more.
        quota: Limits that answer 429.
        retry_after: How 429 and 503 say when to come back; None: they do not.
        retry_after_seconds: What a scripted 429 or 503 says (a quota says the true time).
        poison: A text that contains one of these makes its whole request fail with 400.
        fault_when: Asked before the queue of faults: picks requests by what they carry, where
            concurrency leaves the order of arrival open.
        row_faults: A text that contains the key has a row with this fault.
        encodings: Those of `encoding_format` that are not refused.
        faults: For the next requests to `/embeddings` in turn; None stands for a good answer.
        trickle_seconds: How long a `slow_body` takes.
        characters_per_token: Of `count_tokens`; lower it and clients underestimate.
        batch_polls: Polls of a batch that move it on by one status; 0: only `advance` does.
        batch_line_faults: Custom id -> status that this line of a batch gets.
    """

    key: str = "test-key"
    latency: float | Callable[[Request], float] = 0.0
    hold: Callable[[Request], bool] = lambda _: False
    silent: Callable[[Request], None] = lambda _: None
    quota: Quota | None = None
    retry_after: RetryAfter | None = None
    retry_after_seconds: float = 1.0
    poison: Sequence[str] = ()
    fault_when: Callable[[Request], Fault | None] | None = None
    row_faults: Mapping[str, RowFault] = field(default_factory=dict)
    encodings: Sequence[str] = ("base64", "float")
    faults: Iterable[Fault | None] = ()
    trickle_seconds: float = 0.5
    characters_per_token: float = 4.0
    batch_polls: int = 1
    batch_line_faults: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Fault | None]] = {}
        self.fail_next(*self.faults)

    def fail_next(self, *faults: Fault | None, path: str = "/embeddings") -> None:
        """Queue faults for the next requests whose path starts with `path`."""
        with self._lock:
            self._queues.setdefault(path, deque()).extend(faults)

    def clear_faults(self) -> None:
        with self._lock:
            self._queues.clear()

    def next_fault(self, request: Request) -> Fault | None:
        fault = self.fault_when(request) if self.fault_when else None
        if fault is not None:
            return fault
        with self._lock:
            for path, queue in self._queues.items():
                if queue and request.path.startswith(path):
                    return queue.popleft()
        return None

    def seconds(self, request: Request) -> float:
        return self.latency(request) if callable(self.latency) else self.latency

    def retry_headers(self, seconds: float) -> dict[str, str]:
        match self.retry_after:
            case "seconds":
                return {"retry-after": str(math.ceil(seconds))}
            case "fraction":
                return {"retry-after": f"{seconds:.3f}"}
            case "date":
                # Dates have whole seconds: round up, or the client comes back too early.
                return {"retry-after": formatdate(math.ceil(time.time() + seconds), usegmt=True)}
            case "milliseconds":
                return {"retry-after-ms": str(math.ceil(seconds * 1000))}
        return {}
