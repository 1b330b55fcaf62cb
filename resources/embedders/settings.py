"""Settings that all remote providers share."""

from abc import ABC

from pydantic import Field

from resources.core.space import EmbeddingSpace
from resources.embedders.facts import Limits
from resources.embedders.provider import Provider
from resources.models import catalogue

OPENAI_KEY, VOYAGE_KEY = "OPENAI_API_KEY", "VOYAGE_API_KEY"
"""Environment variables, as the SDKs look for them."""

# For models that the catalogue does not know.
_CAUTIOUS_TEXTS, _CAUTIOUS_TOKENS = 128, 100_000

CONFIRM_SECONDS = 30.0
"""Who only asks whether a model is there waits no longer."""


class RemoteProvider(Provider, ABC):
    """Settings of a provider that is reached over the network."""

    base_url: str | None = Field(default=None, description="Another endpoint of the same API.")
    max_texts: int | None = Field(
        default=None, ge=1, description="Texts per request; default: what the model allows."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Estimated tokens per request; default likewise."
    )
    concurrency: int = Field(default=8, ge=1, le=256, description="Requests in flight.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Default: learned from the replies where they say it."
    )
    tokens_per_minute: int | None = Field(default=None, ge=1, description="Likewise.")
    attempts: int = Field(
        default=6, ge=1, description="Tries per request that fails for no fault of ours."
    )
    patience_seconds: float = Field(
        default=600,
        gt=0,
        description="How long refusals for speed (429) are waited out while nothing gets through.",
    )
    max_failures: int = Field(
        default=20,
        ge=1,
        description="Failed requests in a row, of all, that end the run unless a harmless text "
        "passes then.",
    )
    timeout_seconds: float = Field(
        default=120, gt=0, description="Per request, from its first byte to the answer's last."
    )

    def limits(self, space: EmbeddingSpace, model: str) -> Limits:
        """As configured, else as the catalogue says; tokens are estimated ones."""
        entry = catalogue.find(space.provider, model)
        return Limits(
            self.max_texts or (entry and entry.max_texts) or _CAUTIOUS_TEXTS,
            self.max_tokens or (entry and entry.max_request_tokens) or _CAUTIOUS_TOKENS,
        )
