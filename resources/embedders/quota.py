"""A quota that several pipelines share, on however many machines: `embedder: {quota: …}`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from pydantic import Field, model_validator

from resources.core.config import StrictConfig


class Amount(NamedTuple):
    """What requests take of a quota."""

    requests: int = 0
    tokens: int = 0

    def plus(self, other: "Amount") -> "Amount":
        return Amount(self.requests + other.requests, self.tokens + other.tokens)

    def minus(self, other: "Amount") -> "Amount":
        return Amount(self.requests - other.requests, self.tokens - other.tokens)


NOTHING = Amount()

Place = tuple[int, int]
"""Where a quota counts something reserved: its slot, and since when slots have these numbers."""


class QuotaSettings(StrictConfig):
    """Limits of one account, which all pipelines that name them keep together."""

    name: str = Field(
        min_length=1,
        description="What the provider counts together, the same in every pipeline that shares "
        "it: an account's requests for one model, say.",
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Of all pipelines together; queries of searches aside."
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Likewise, as the provider bills them."
    )

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if self.limits == (None, None):
            raise ValueError(
                f"the quota {self.name!r} limits nothing: give it `requests_per_minute`, "
                "`tokens_per_minute` or both"
            )
        return self

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Of requests and of tokens, as an `Amount` has them."""
        return self.requests_per_minute, self.tokens_per_minute

    @property
    def most_tokens(self) -> int | None:
        """That one request may hold, so that no window is left half empty for want of a fit.

        Where few requests are allowed, these have to be large.
        """
        if self.tokens_per_minute is None:
            return None
        pieces = min(_PIECES, self.requests_per_minute or _PIECES)
        return max(1, self.tokens_per_minute // pieces)


_PIECES = 20
"""Requests that a minute's tokens are cut into at least."""


@dataclass(frozen=True)
class Reserved:
    """What may be used between two moments of this machine's clock, see `moment.elapsed`.

    Attributes:
        place: Where the quota counts it.
    """

    amount: Amount
    begin: float
    end: float
    place: Place


class Change(NamedTuple):
    """What has come of something reserved.

    Attributes:
        place: Where the quota counts it.
        booked: As what.
        used: What it was in fact.
        last: When the last of it got there at the latest, by this machine's clock; None: as was
            reserved, or reported already.
    """

    place: Place
    booked: Amount
    used: Amount
    last: float | None


class SharedQuota(Protocol):
    """A quota as one process knows it; called from threads, one at a time."""

    limits: tuple[int | None, int | None]
    """Of a window, as this pipeline's settings have them."""
    at_once: Amount
    """What is reserved at once, where no single request needs more."""
    transit: float
    """Seconds that a request may take to get there, if it is not answered sooner."""

    def reserve(self, asked: Amount, changes: Sequence[Change]) -> tuple[Reserved, list[Place]]:
        """Reserve an amount, which lapses by itself; and where changed ones are counted now."""
        ...

    def settle(self, changes: Sequence[Change]) -> None:
        """Give back what will not be used."""
        ...
