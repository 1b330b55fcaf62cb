"""What is known of a reranker before it is opened."""

from dataclasses import dataclass

from resources.models import catalogue


@dataclass(frozen=True)
class Facts:
    """Which model it is.

    Attributes:
        provider: Kind of the reranker.
        model: As the provider calls it.
        usd_per_million: List price of a million tokens; 0 for a local model, None: not known.
    """

    provider: str
    model: str
    usd_per_million: float | None = None

    def __str__(self) -> str:
        return f"{self.provider} reranker {self.model}"

    @property
    def paid(self) -> bool:
        """Whether it costs something, or may."""
        return self.usd_per_million != 0

    def cost_usd(self, tokens: int) -> float | None:
        """Of so many tokens, free ones not deducted; None where no price is known."""
        price = self.usd_per_million
        return None if price is None else price * tokens / 1_000_000

    @classmethod
    def priced(cls, provider: str, model: str, *, sold_as: str = "") -> "Facts":
        """With the catalogue's price.

        Args:
            provider: Kind of the reranker.
            model: As the provider calls it.
            sold_as: The provider whose price it has; default: itself.

        Raises:
            ConfigurationError: The model embeds.
        """
        catalogue.check_task(sold_as or provider, model, "rerank")
        price = catalogue.usd_per_million(sold_as or provider, model, "rerank")
        return cls(provider, model, price)
