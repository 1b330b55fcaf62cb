"""The project's pipelines, and what keeps one from being searched."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.framework import modules
from pipelines.framework.catalog import missing_variables
from pipelines.framework.modules import Declared
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.serving.sentences import UnknownPipeline
from resources.core.errors import ConfigurationError, EmbeddingsError

FRESH_SECONDS = 10.0
"""So long a listing holds: to look means to import every module again."""


class Offered:
    """Any number of threads may ask.

    Args:
        overrides: YAML run configs merged on top of every pipeline's own.
        declared: Finds the pipelines.
    """

    def __init__(
        self,
        overrides: Sequence[str | Path] = (),
        declared: Callable[[], Iterable[Declared]] = modules.declared,
    ) -> None:
        self.overrides = overrides
        self._declared = declared
        self._lock = threading.Lock()
        self._found: dict[str, Declared] = {}
        self._missing: dict[str, list[str]] = {}
        self._looked = float("-inf")

    def listing(self) -> list[Declared]:
        """Every pipeline by its name, sound or broken; looks anew when the last look is old."""
        with self._lock:
            if time.monotonic() - self._looked > FRESH_SECONDS:
                found = [self._checked(each) for each in self._declared()]
                self._found = {each.name: each for each in sorted(found, key=lambda it: it.name)}
                self._looked = time.monotonic()
            return list(self._found.values())

    def sound(self, name: str) -> bool:
        """Whether the last look found it so; looks at nothing."""
        known = self._found.get(name)
        return known is not None and not known.fault

    def missing(self, name: str) -> list[str]:
        """Environment variables that it needs and that are not set."""
        return self._missing.get(name, [])

    def pipeline(self, name: str) -> EmbeddingPipeline:
        """One that can be opened.

        Raises:
            UnknownPipeline: There is none of that name.
            ConfigurationError: It is broken.
        """
        if not self.sound(name):
            self.listing()
        known = self._found.get(name)
        if known is None:
            names = ", ".join(self._found)
            raise UnknownPipeline(
                f"there is no pipeline of that name; there are: {names or 'none'}"
            )
        if known.pipeline is None or known.fault:
            raise ConfigurationError(f"pipeline {name} is broken: {known.fault}")
        return known.pipeline

    def _checked(self, found: Declared) -> Declared:
        if found.fault or found.pipeline is None:
            return found
        try:
            self._missing[found.name] = list(missing_variables(found.pipeline, self.overrides))
        except EmbeddingsError as error:
            return replace(found, fault=str(error))
        return found
