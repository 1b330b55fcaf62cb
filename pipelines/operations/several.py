"""Several pipelines looked at at once, over however many deployments: none hides the others."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pymongo
from pymongo.errors import PyMongoError

from assets.work.opened import Opened
from pipelines.framework.catalog import find_pipeline, missing_variables, open_pipeline
from pipelines.framework.modules import Declared, declared
from resources.core.errors import DeploymentError, EmbeddingsError
from resources.core.paths import project_root
from resources.mongodb.resource import Embedded

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long to look for a server, and how long then for each pipeline's answers."""
AT_ONCE = 16
"""Pipelines that ask their deployments at the same time."""

ASLEEP = "its embedded server is not running: the next run or search starts it"


@dataclass(frozen=True)
class Unseen:
    """Why nothing can be told of a pipeline.

    Attributes:
        why: As one sentence.
        asleep: Nothing is wrong: its server is one that is started when it is needed.
    """

    why: str
    asleep: bool = False


def chosen(names: Sequence[str] = ()) -> list[Declared]:
    """The pipelines of these names, or all of the project; those that cannot be loaded say why.

    Raises:
        ConfigurationError: There is no project here.
    """
    if names:
        return [_loaded(name) for name in dict.fromkeys(names)]
    project_root()
    return list(declared())


def _loaded(name: str) -> Declared:
    try:
        return Declared(name, pipeline=find_pipeline(name))
    except EmbeddingsError as error:
        return Declared(name, str(error), error=error)
    except (Exception, SystemExit) as error:  # whatever the user's code does when it is imported
        return Declared(name, f"{type(error).__name__}: {error}", error=error)


class Looks(Generic[T]):
    """One look at each pipeline, begun when this is made.

    Deployments are asked in threads, each with a bound in time, also where they are dead; what
    hangs nevertheless is left behind. An embedded server that sleeps is not woken.

    Args:
        pipelines: Whom to look at.
        look: What to ask; called with a pipeline that has reached its deployment, in any thread.
        overrides: YAML run configs merged on top of each pipeline's own.
        patience: Seconds: see `PATIENCE_SECONDS`.
        wake: Start an embedded server that sleeps, for who asks for it by name.
    """

    def __init__(
        self,
        pipelines: Sequence[Declared],
        look: Callable[[Opened], T],
        overrides: Sequence[str | Path] = (),
        patience: float = PATIENCE_SECONDS,
        *,
        wake: bool = False,
    ) -> None:
        self._look, self._overrides, self._patience = look, overrides, patience
        self._wake = wake
        self._gates: dict[str, _Gate] = {}
        self._lock, self._turns = threading.Lock(), threading.Semaphore(AT_ONCE)
        self._found: dict[str, T | Unseen] = {}
        self._names = [each.name for each in pipelines]
        # Not joined at the interpreter's end: a name server or a disk may hang for ever.
        self._threads = [
            threading.Thread(target=self._work, args=(each,), name=f"look-{each.name}", daemon=True)
            for each in pipelines
        ]
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()

    def wait(self) -> dict[str, T | Unseen]:
        """What was seen of each pipeline, by the name it was chosen by."""
        rounds = 1 + -(-len(self._threads) // AT_ONCE)
        bound = self._patience * rounds + 1
        for thread in self._threads:
            thread.join(max(0.0, self._begun + bound - time.monotonic()))
        late = Unseen(f"it did not answer within {bound:.0f} s")
        return {name: self._found.get(name, late) for name in self._names}

    def _work(self, declared: Declared) -> None:
        try:
            self._found[declared.name] = self._seen(declared)
        except EmbeddingsError as error:
            self._found[declared.name] = Unseen(str(error))
        except Exception as error:
            self._found[declared.name] = Unseen(f"{type(error).__name__}: {error}")

    def _seen(self, declared: Declared) -> T | Unseen:
        pipeline = declared.pipeline
        if pipeline is None:
            told = isinstance(declared.error, EmbeddingsError)
            return Unseen(declared.fault if told else f"it cannot be loaded: {declared.fault}")
        missing = missing_variables(pipeline, self._overrides)
        # Nothing is embedded and no source is read here.
        unneeded = [name for name, key in missing.items() if key != "mongodb"]
        with open_pipeline(pipeline, self._overrides, without=unneeded) as opened:
            if opened.mongodb.asleep and not self._wake:
                return Unseen(ASLEEP, asleep=True)
            self._gate(opened).pass_through(opened, self._patience)
            with self._turns, pymongo.timeout(self._patience):
                return self._look(opened)

    def _gate(self, opened: Opened) -> "_Gate":
        with self._lock:
            return self._gates.setdefault(address(opened), _Gate())


class _Gate:
    """The way to a deployment: whoever comes first finds out whether it is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed: EmbeddingsError | None = None

    def pass_through(self, opened: Opened, patience: float) -> None:
        """Connect.

        Raises:
            EmbeddingsError: The deployment cannot be reached, as somebody has found out before.
        """
        with self._lock:
            if self._closed is not None:
                raise self._closed
            try:
                # Within such a bound the driver's own time-out does not count.
                with pymongo.timeout(min(patience, opened.mongodb.timeout_seconds)):
                    opened.client  # noqa: B018  (connects)
            except EmbeddingsError as error:
                self._closed = error
                raise
            except PyMongoError as error:
                self._closed = DeploymentError(f"{opened.mongodb.describe()}: {error}")
                raise self._closed from error


def address(opened: Opened) -> str:
    """What tells a deployment from another; with its password, so it is not for people."""
    deployment = opened.mongodb.deployment
    return str(deployment.path) if isinstance(deployment, Embedded) else deployment.uri
