"""What an answer's status means for the request, alike for all providers."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from resources.embedders.words import without_key, words

Kind = Literal["throttled", "transient", "refused", "misfit", "forbidden", "fatal"]

REFUSALS = (400, 413, 422)
"""Statuses that say: not this text, ever."""
FORBIDDEN = (401, 402, 403, 407)
PASSING = (408, 409, 425)
UNBILLED_UNKNOWN = (408, 499, 502, 504, 520, 522, 524)
"""Said by what stands before the server, which may have done and billed the work."""


class RequestFailed(Exception):
    """A request failed; its kind decides what happens next.

    `throttled` and `transient` are tried again, then the request is split to find the text at
    fault; `refused` and `misfit` (a vector of another width) are split at once; `forbidden` ends
    the run unless other texts pass; `fatal` ends it.

    Args:
        message: What a run that ends with it says.
        said: What stands in quarantine for a text that is to blame; default: the message.
        lasting: The text is refused until it or the settings change.
        timed_out: Nothing was answered in time.
        damaged: A reply that cannot be used, which may be billed all the same.
        misnumbered: Rows came with positions that make no sense.
        answered: There was a status; else the provider may do and bill the work unseen.
        tokens: Billed for it; None for unknown.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        retry_after: float | None = None,
        *,
        said: str = "",
        lasting: bool = False,
        timed_out: bool = False,
        damaged: bool = False,
        misnumbered: bool = False,
        answered: bool = False,
        tokens: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.retry_after = retry_after
        self.said = said or message
        self.lasting = lasting
        self.timed_out = timed_out
        self.damaged, self.misnumbered = damaged, misnumbered
        self.answered, self.tokens = answered, tokens
        self.manner = 0
        """How it was asked for, see `Sender.manner`."""
        self.at = 0.0
        """When, on the monotonic clock; filled in by the sender."""
        self.tries = 1
        self.cut_short = False
        """Tries are left that were not made, because the server seemed to be down."""
        self.others_passed = False
        """The server served other requests between this one's tries."""


def explained(
    status: int,
    headers: Mapping[str, str],
    body: str | bytes,
    *,
    variable: str,
    key: str = "",
    texts: list[str] | None = None,
) -> RequestFailed:
    """The failure that an answer without vectors is.

    It names the `variable` that holds the API key, and shows neither the key nor whole texts.
    """
    document = _document(body)
    said = without_key(words(body, texts or ()), key) or "the server does not say why"
    message = f"{said} (HTTP {status})"
    inner = _inner_status(document) if 200 <= status < 300 else None
    meaning = inner or status
    tokens = None if status in UNBILLED_UNKNOWN else 0
    sound = 200 <= status < 300
    if sound:
        tokens = usage_tokens(document.get("usage"))
    known: dict[str, Any] = {
        "said": message, "damaged": sound, "answered": True, "tokens": tokens,
    }  # fmt: skip
    if meaning == 401:
        return RequestFailed(
            "forbidden",
            f"it refuses the API key ({status}): set {variable} to a valid one",
            **known,
        )
    if meaning in FORBIDDEN:
        return RequestFailed(
            "forbidden",
            f"{message}: {variable} is not of an account that may use the model",
            **known,
        )
    if meaning == 429:
        if "insufficient_quota" in _codes(document):
            return RequestFailed("fatal", f"the account has no credit left: {message}", **known)
        return RequestFailed("throttled", message, retry_after(headers), **known)
    if meaning in REFUSALS:
        # An error that comes with status 200 is a damaged reply, whatever it says.
        return RequestFailed("refused", message, lasting=inner is None, **known)
    if 400 <= meaning < 500 and meaning not in PASSING:
        return RequestFailed("refused", message, **known)
    return RequestFailed("transient", message, retry_after(headers), **known)


def unreadable(error: Exception) -> RequestFailed:
    """For what an SDK lets through: broken JSON, a connection that is cut."""
    return RequestFailed("transient", f"the reply cannot be read ({type(error).__name__})")


def timed_out(seconds: float) -> RequestFailed:
    return RequestFailed("transient", f"no answer within {seconds:g} seconds", timed_out=True)


def lower_case(headers: Any) -> dict[str, str]:
    """Header names as HTTP has them: in any case."""
    return {str(name).lower(): str(value) for name, value in dict(headers or {}).items()}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or an HTTP date)."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            return _until(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    return None


def _until(http_date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _document(body: str | bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _error(document: dict[str, Any]) -> dict[str, Any]:
    error = document.get("error")
    return error if isinstance(error, dict) else document


def _inner_status(document: dict[str, Any]) -> int | None:
    """A status in the body: gateways answer 200 for what the server behind them refused."""
    for name in ("code", "status", "status_code"):
        value = _error(document).get(name)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _codes(document: dict[str, Any]) -> tuple[Any, Any]:
    error = _error(document)
    return error.get("code"), error.get("type")


def usage_tokens(usage: Any) -> int | None:
    """Tokens as billed; None where the server does not say."""
    if isinstance(usage, Mapping):
        for name in ("prompt_tokens", "total_tokens"):
            value = usage.get(name)
            if isinstance(value, int) and value >= 0:
                return value
    return None


def of_openai_sdk(error: Exception, key: str, variable: str) -> RequestFailed:
    """What an error of the openai SDK, whoever it was sent to, means for the request."""
    import openai

    if isinstance(error, openai.APIStatusError):
        answer = error.response
        headers = lower_case(answer.headers)
        return explained(answer.status_code, headers, answer.content, variable=variable, key=key)
    if isinstance(error, openai.APITimeoutError):
        return RequestFailed("transient", "no answer in time", timed_out=True)
    if isinstance(error, openai.APIConnectionError):
        return RequestFailed("transient", str(error).rstrip("."))
    return unreadable(error)
