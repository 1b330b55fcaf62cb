"""What embedding will cost, and whether it may: known before the first request."""

from dataclasses import dataclass
from math import ceil

from resources.core.errors import ConfigurationError
from resources.embedders.facts import Facts
from resources.models import catalogue
from resources.registry.ledger import Billed

NOTHING = Billed()


@dataclass(frozen=True)
class Estimate:
    """Work that is still to be paid for.

    Attributes:
        texts: Distinct texts to embed.
        tokens: Estimated from their characters, rather too many than too few.
        cost_usd: At list price, free tokens not deducted; None where no price is known.
    """

    texts: int
    tokens: int
    cost_usd: float | None

    def __str__(self) -> str:
        return f"{self.texts:,} texts, about {self.tokens:,} tokens, {dollars(self.cost_usd)}"


def estimate(facts: Facts, *, texts: int, tokens: int) -> Estimate:
    return Estimate(texts, tokens, facts.cost_usd(tokens))


def share_of(
    share: float, max_tokens: int | None, max_cost_usd: float | None
) -> tuple[int | None, float | None]:
    """What a piece of the work may take; together they may take no more than the whole."""
    if share == 1.0:
        return max_tokens, max_cost_usd
    tokens = None if max_tokens is None else ceil(max_tokens * share)
    # A limit that is exactly the estimate is none that is exceeded.
    cost = None if max_cost_usd is None else max_cost_usd * share * (1 + 1e-9)
    return tokens, cost


def together(one: Estimate | None, other: Estimate | None) -> Estimate | None:
    """Of two pieces of work; its price is not known where that of either is not."""
    if one is None or other is None:
        return one or other
    known = one.cost_usd is not None and other.cost_usd is not None
    cost = (one.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None
    return Estimate(one.texts + other.texts, one.tokens + other.tokens, cost)


def check_budget(
    wanted: Estimate,
    *,
    model: str,
    max_tokens: int | None,
    max_cost_usd: float | None,
    way_out: str = "raise it, or limit the source",
    before: Billed = NOTHING,
) -> None:
    """Stop before anything is spent.

    Args:
        wanted: What is to be embedded.
        model: That does it.
        max_tokens: Of the whole run.
        max_cost_usd: Likewise.
        way_out: What to do about it.
        before: What the run was billed already, for the space that serves.

    Raises:
        ConfigurationError: More tokens or money than allowed, or a price nobody knows.
    """
    spent = "nothing more is spent" if before != NOTHING else "nothing is spent"
    if max_tokens is not None and wanted.tokens and before.tokens + wanted.tokens > max_tokens:
        already = f", besides the {before.tokens:,} of the space that serves" * bool(before.tokens)
        raise ConfigurationError(
            f"embedding {wanted.texts:,} texts takes about {wanted.tokens:,} tokens{already}, over "
            f"`max_tokens: {max_tokens}`; {spent}; {way_out}"
        )
    if max_cost_usd is None or not wanted.texts:
        return
    if wanted.cost_usd is None:
        raise ConfigurationError(
            f"`max_cost_usd` is set, but the price of {model} is not known: add it to a catalogue "
            f"of your own (see {catalogue.VARIABLE} in {catalogue.PACKAGED}); {spent}"
        )
    if before.cost_usd + wanted.cost_usd > max_cost_usd:
        already = f", besides {dollars(before.cost_usd)} for the space that serves"
        already *= bool(before.cost_usd)
        raise ConfigurationError(
            f"embedding {wanted.texts:,} texts (about {wanted.tokens:,} tokens) with {model} costs "
            f"about {dollars(wanted.cost_usd)}{already}, over `max_cost_usd: {max_cost_usd}`; "
            f"{spent}; {way_out}"
        )


def exceeded(
    tokens: int | None,
    cost_usd: float | None,
    *,
    max_tokens: int | None,
    max_cost_usd: float | None,
    before: Billed = NOTHING,
) -> str:
    """Why a run must stop in the middle, from what it was billed so far; empty if it need not."""
    all_tokens, all_usd = (tokens or 0) + before.tokens, (cost_usd or 0.0) + before.cost_usd
    if max_tokens is not None and tokens and all_tokens > max_tokens:
        figures = f"{all_tokens:,} tokens were billed, over `max_tokens: {max_tokens}`"
    elif max_cost_usd is not None and cost_usd and all_usd > max_cost_usd:
        figures = f"{dollars(all_usd)} were billed, over `max_cost_usd: {max_cost_usd}`"
    else:
        return ""
    return f"{figures}; what is embedded so far is kept; raise it to go on"


def dollars(amount: float | None) -> str:
    """`$0.0031`, `$12.40`, `free`, `price not known`."""
    if amount is None:
        return "price not known"
    if amount == 0:
        return "free"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.2g}"
