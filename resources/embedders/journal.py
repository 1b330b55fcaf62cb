"""Requests are written down before they are sent, so that a kill hides no bill."""

from typing import Protocol


class Journal(Protocol):
    """Where one run's requests are written down; called from threads, several at once.

    What was billed lies between the closed tokens, and those with what open requests may cost at
    most. A request stays open if its answer never came: a time-out, a cut connection, a kill.
    """

    def opened(self, request: str, *, texts: int, tokens: int) -> None:
        """It is about to be sent: durable before this returns.

        Args:
            request: Its unique id.
            texts: How many it holds.
            tokens: What may be billed for it at most.
        """
        ...

    def closed(self, request: str, *, tokens: int | None) -> None:
        """It was answered.

        Args:
            request: Its id.
            tokens: As billed; 0 for a refusal, None where the answer does not say.
        """
        ...
