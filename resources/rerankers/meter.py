"""Where the bill of reranking is counted; a search never waits for it."""

from typing import Protocol


class Meter(Protocol):
    """Called from any thread, once for every request; it returns at once."""

    def add(self, *, texts: int, tokens: int | None, estimate: int) -> None:
        """One request was answered, or nobody knows whether it was.

        Args:
            texts: How many it held.
            tokens: As billed; None where that is not known.
            estimate: Of the tokens.
        """
        ...
