"""Progress of long work in the run's log: how far, how fast, how much longer."""

import time
from collections.abc import Callable

EVERY_SECONDS = 5.0


class Progress:
    """Logs a line every few seconds, and one at the end if there were any.

    Args:
        log: Where lines go, e.g. `context.log.info`.
        what: What is counted: `chunks embedded`.
        total: How many there will be, None where nobody knows yet.
    """

    def __init__(self, log: Callable[[str], None], what: str, total: int | None = None) -> None:
        self._log = log
        self._what = what
        self._total = total
        self._start = self._last = time.monotonic()
        self._spoke = False
        self.done = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    @property
    def rate(self) -> float:
        """Per second, since the start."""
        return self.done / max(self.seconds, 1e-9)

    def advance(self, count: int) -> None:
        self.done += count
        if self.done != self._total and time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            self._spoke = True
            self._log(self._line())

    def finish(self) -> None:
        if self._spoke:
            self._log(f"{self.done:,} {self._what} in {duration(self.seconds)}, {self.rate:,.0f}/s")

    def _line(self) -> str:
        if not self._total:
            return f"{self.done:,} {self._what}, {self.rate:,.0f}/s"
        left = (self._total - self.done) / max(self.rate, 1e-9)
        return (
            f"{self.done:,} of {self._total:,} {self._what} ({self.done / self._total:.0%}), "
            f"{self.rate:,.0f}/s, about {duration(left)} left"
        )


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
