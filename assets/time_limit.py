"""How long a step may take: one that takes longer is interrupted, as if its run were ended.

So it keeps what it has paid for, as a run does that somebody ends; and then it fails by a sentence.
How long a run may take, Dagster's daemon watches: see `tagging.limit`.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Timer

from dagster._core.errors import DagsterExecutionInterruptedError

from resources.core.errors import ConfigurationError
from resources.core.length import length

INTERRUPTS = (KeyboardInterrupt, DagsterExecutionInterruptedError)


@contextmanager
def limited(most: str | None, step: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Interrupt what takes longer.

    Args:
        most: As `runs: max_step_runtime` has it; None for however long.
        step: Its name, for the sentence.
        warn: Told where the step cannot be interrupted.

    Raises:
        ConfigurationError: It took longer.
    """
    if most is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        warn(f"`runs: max_step_runtime` cannot end {step}: it runs in a thread of its own here")
        yield
        return
    watch = _Watch(length(most).total_seconds())
    try:
        yield
    except INTERRUPTS as interrupt:
        if not watch.fired:
            raise
        raise ConfigurationError(
            f"{step} took longer than `runs: max_step_runtime: {most}` and was interrupted: what "
            "it had paid for is kept, and the next run goes on from there; raise the limit, or see "
            "in the log what took so long"
        ) from interrupt
    finally:
        watch.end()


class _Watch:
    """Interrupts the main thread after some seconds, unless it is ended before."""

    def __init__(self, seconds: float) -> None:
        self.fired = False
        self._ended = False
        self._lock = threading.Lock()
        self._timer = Timer(seconds, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def _fire(self) -> None:
        with self._lock:
            if self._ended:
                return
            self.fired = True
            # Dagster's own handler makes of it what it makes of the end of a run.
            if hasattr(signal, "pthread_kill"):
                # Also out of a call that waits, which the other way would only mark.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            else:
                signal.raise_signal(signal.SIGINT)

    def end(self) -> None:
        self._timer.cancel()
        # Fired in the last moment, the interrupt is on its way: nothing after this is to get it.
        with suppress(*INTERRUPTS):
            with self._lock:
                self._ended = True
            self._timer.join()
            if self.fired:
                time.sleep(0.01)
