"""What is known of a provider before it is opened."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resources.core.space import EmbeddingSpace
from resources.models import catalogue


@dataclass(frozen=True)
class Limits:
    """Of one request; None where there is none, or none is known."""

    texts: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Facts:
    """What planning, the dry run, `doctor` and the budget go by.

    Attributes:
        model: That embeds documents; one member of the space's family.
        refusal_scope: What a refusal of a text holds for: other settings may accept it.
        usd_per_million: List price of a million tokens; 0 for a local model, None: not known.
        price_factor: Share of the list price that this way of asking costs.
        limits: Of one request.
        truncates: A text that is too long is cut, and not refused.
        settings: Choices that are not part of the space, written down with every batch.
    """

    model: str
    refusal_scope: str
    usd_per_million: float | None = None
    price_factor: float = 1.0
    limits: Limits = Limits()
    truncates: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        space: EmbeddingSpace,
        model: str,
        settings: Mapping[str, Any] | None = None,
        **known: Any,
    ) -> "Facts":
        """Facts of a model in a space; a price that is not given is the catalogue's.

        Args:
            space: Of the provider's documents.
            model: As the provider calls it.
            settings: Choices that are not part of the space.
            **known: Other attributes.
        """
        chosen = dict(settings or {})
        if "usd_per_million" not in known:
            known["usd_per_million"] = catalogue.usd_per_million(space.provider, model)
        return cls(
            model,
            f"{space.id} {json.dumps(chosen, sort_keys=True)}",
            settings=chosen,
            **known,
        )

    def cost_usd(self, tokens: int) -> float | None:
        """Of so many tokens, free ones not deducted; None where no price is known."""
        price = self.usd_per_million
        return None if price is None else price * tokens / 1_000_000 * self.price_factor
