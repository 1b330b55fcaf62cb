"""Which modules of `pipelines/` declare a pipeline, and which of those are broken."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pipelines
from pipelines.framework.names import OURS, pipeline_names
from pipelines.framework.pipeline import EmbeddingPipeline, declarations_only
from resources.core.errors import EmbeddingsError


@dataclass(frozen=True)
class Declared:
    """A module of `pipelines/` that declares a pipeline.

    Attributes:
        name: What commands call it.
        fault: Why it cannot be run; empty where it can.
        error: What its import raised, if that is why.
    """

    name: str
    fault: str = ""
    pipeline: EmbeddingPipeline | None = None
    error: BaseException | None = None


def declared() -> Iterator[Declared]:
    """Every pipeline, with what keeps it from running if it cannot be imported."""
    for module in pkgutil.iter_modules(pipelines.__path__[1:]):  # the first folder is ours
        if module.name in OURS:
            yield Declared(module.name, "a module of ours has this name; give it another")
    for name in pipeline_names():
        found = load(name)
        if found.pipeline or found.error:  # else something else of that name
            yield found


def load(name: str) -> Declared:
    """Import a module for its pipeline, whatever the user's code does then."""
    module, known = f"pipelines.{name}", set(sys.modules)
    try:
        with declarations_only():
            found = getattr(importlib.import_module(module), "pipeline", None)
        if not isinstance(found, EmbeddingPipeline):
            return Declared(name, "it declares no `pipeline = EmbeddingPipeline(…)`")
        found.resources()
        return Declared(name, pipeline=found)
    except EmbeddingsError as error:
        return Declared(name, str(error), error=error)
    except (Exception, SystemExit) as error:
        return Declared(name, f"{type(error).__name__}: {error}", error=error)
    finally:
        if module not in known:  # whoever imports it for its definitions gets them built
            sys.modules.pop(module, None)
