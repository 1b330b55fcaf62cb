"""Progress of long work in the run's log: how far, how fast, how much longer; never long silent.

    with voiced(context.log.info) as log:       the door of a step, or a command
        with doing("loading the model"):        anything that takes its time in one piece
        Progress(log, "chunks embedded", 100)   anything that can be counted

Of what goes on without a word for `SILENT_SECONDS`, a thread says that it still does.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY_SECONDS = 5.0
SILENT_SECONDS = 10.0

Log = Callable[[str], None]


def nobody(line: str) -> None:
    """Where lines go that nobody reads."""


class _Voice:
    """Where lines go, when the last one went, and what is being done meanwhile."""

    def __init__(self, log: Log, *, patient: bool) -> None:
        self._log = log
        self.patient = patient
        self._last = time.monotonic()
        self._doing: list[Callable[[], str]] = []
        self._over = threading.Event()

    def say(self, line: str) -> None:
        self._last = time.monotonic()
        self._log(line)

    def begin(self, describe: Callable[[], str]) -> None:
        if self._log is not nobody:
            self._doing.append(describe)

    def end(self, describe: Callable[[], str]) -> None:
        if describe in self._doing:
            self._doing.remove(describe)

    def listen(self) -> None:
        while not self._over.wait(max(0.05, self._last + SILENT_SECONDS - time.monotonic())):
            if time.monotonic() - self._last >= SILENT_SECONDS:
                self._last = time.monotonic()
                if doing := self._doing[-1:]:
                    self.say(doing[0]())

    def stop(self) -> None:
        self._over.set()


_NOBODY = _Voice(nobody, patient=True)
_voice: ContextVar[_Voice] = ContextVar("voice")


@contextmanager
def voiced(log: Log, what: str = "", *, patient: bool = False) -> Iterator[Log]:
    """Where `doing` and `listener` speak until the block ends; gives the log that notes who speaks.

    Args:
        log: Where lines go; may be called by another thread.
        what: Goes on for as long as the block; empty if nothing is to be said of it.
        patient: Of what is `doing` only what lasts is told.
    """
    voice = _Voice(log, patient=patient)
    start = time.monotonic()
    if what:
        voice.begin(lambda: f"still {what}, {duration(time.monotonic() - start)}")
    token = _voice.set(voice)
    listener = threading.Thread(target=voice.listen, name="progress", daemon=True)
    listener.start()
    try:
        yield voice.say
    finally:
        _voice.reset(token)
        voice.stop()
        listener.join()


def listener() -> Log:
    """Where the nearest `voiced` says it, for any thread; where there is none, nobody hears it."""
    return _voice.get(_NOBODY).say


@contextmanager
def doing(what: str, *, patient: bool = False) -> Iterator[None]:
    """Say what begins, that it still goes on while nothing else is said, and how long it took.

    Args:
        what: `loading the model`.
        patient: Say it only if it lasts.
    """
    voice, start = _voice.get(_NOBODY), time.monotonic()
    patient = patient or voice.patient

    def still() -> str:
        return f"still {what}, {duration(time.monotonic() - start)}"

    if not patient:
        voice.say(f"{what} …")
    voice.begin(still)
    try:
        yield
    finally:
        voice.end(still)
    if not patient:
        voice.say(f"{what} took {duration(time.monotonic() - start)}")


class Progress:
    """Logs a line every few seconds, and one at the end if there were any.

    Args:
        log: Where lines go, e.g. `context.log.info`.
        what: What is counted: `chunks embedded`.
        total: How many there will be, None where nobody knows yet.
        show: Writes a number; those of bytes have units.
    """

    def __init__(
        self,
        log: Log,
        what: str,
        total: int | None = None,
        show: Callable[[float], str] = "{:,.0f}".format,
    ) -> None:
        self._log, self._show = log, show
        self._what = what
        self.total = total
        self._start = self._last = time.monotonic()
        self._spoke = False
        self._lock = threading.Lock()
        self.done = 0
        self._begun = 0
        self._voice = _voice.get(_NOBODY)
        self._voice.begin(self._still)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    @property
    def rate(self) -> float:
        """Per second, since the start."""
        return self.done / max(self.seconds, 1e-9)

    def within(self, count: int) -> None:
        """So many are done of what `advance` will count as a whole; called by any thread."""
        with self._lock:
            self._begun += count
        self._look()

    def advance(self, count: int) -> None:
        with self._lock:
            self.done += count
            self._begun = max(0, self._begun - count)
        self._look()

    def finish(self) -> None:
        self._voice.end(self._still)
        if self._spoke:
            shown = f"{self._show(self.done)} {self._what}"
            self._say(f"{shown} in {duration(self.seconds)}, {self._show(self.rate)}/s")

    def _look(self) -> None:
        over = self.done + self._begun == self.total
        if not over and time.monotonic() - self._last >= EVERY_SECONDS:
            self._say(self._line())

    def _say(self, line: str) -> None:
        self._last = time.monotonic()
        self._spoke = True
        self._log(line)

    def _still(self) -> str:
        self._spoke = True
        return self._line()

    def _line(self) -> str:
        done = self.done + self._begun
        if self.total:
            done = min(done, self.total)
        seconds = max(self.seconds, 1e-9)
        if not done:
            of = f" of {self._show(self.total)}" if self.total else ""
            return f"{self._what}: none{of} in {duration(seconds)} so far"
        if not self.total:
            return f"{self._show(done)} {self._what}, {self._show(done / seconds)}/s"
        left = (self.total - done) * seconds / done
        return (
            f"{self._show(done)} of {self._show(self.total)} {self._what} "
            f"({done / self.total:.0%}), {self._show(done / seconds)}/s, "
            f"about {duration(left)} left"
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


def size(count: float) -> str:
    """`812 kB`, `91 MB`, `1.3 GB`, `4.1 TB`."""
    for unit, of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= of:
            return f"{count / of:.1f} {unit}" if count < 10 * of else f"{count / of:.0f} {unit}"
    return f"{count / 1e3:.0f} kB"
