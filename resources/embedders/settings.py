"""Settings that all providers share."""

from pydantic import Field

from resources.core.config import StrictConfig
from resources.models import catalogue

# For models that the catalogue does not know.
_CAUTIOUS_TEXTS, _CAUTIOUS_TOKENS = 128, 100_000


class Provider(StrictConfig):
    """Settings of every provider."""

    space: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the space, where another model or server makes the same vectors: "
        "the model that they are known by (a gateway that renames text-embedding-3-small says "
        "`space: text-embedding-3-small`).",
    )

    @property
    def truncates(self) -> bool:
        """Whether a text that is too long is cut, and not refused."""
        return False


class RemoteProvider(Provider):
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

    def request_limits(self, provider: str, model: str) -> dict[str, int]:
        """Texts and estimated tokens per request: as configured, else as the catalogue says."""
        entry = catalogue.find(provider, model)
        texts = self.max_texts or (entry and entry.max_texts) or _CAUTIOUS_TEXTS
        tokens = self.max_tokens or (entry and entry.max_request_tokens) or _CAUTIOUS_TOKENS
        return {"max_texts": texts, "max_tokens": tokens}
