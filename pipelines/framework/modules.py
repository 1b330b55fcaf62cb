"""Which modules of `pipelines/` declare a pipeline, and which of those are broken."""

import importlib
import pkgutil
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import InspectLoader
from importlib.util import find_spec

import pipelines
from pipelines.framework.pipeline import EmbeddingPipeline, declarations_only
from resources.core.errors import EmbeddingsError

OURS = ("cli", "framework", "operations", "serving")


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


def pipeline_names() -> list[str]:
    """Modules that bind the name `pipeline` or do not parse; none is imported for it."""
    names = (module.name for module in pkgutil.iter_modules(pipelines.__path__))
    return sorted(name for name in names if name not in OURS and _binds_pipeline(name))


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


def _binds_pipeline(name: str) -> bool:
    try:
        source = _source(f"pipelines.{name}")
        names = symtable.symtable(source, name, "exec")
    except (SyntaxError, ValueError, ImportError, OSError):
        return True  # broken: importing it says how
    # What a star brings is known only to whoever imports it.
    if "import *" in source:
        return True
    try:
        symbol = names.lookup("pipeline")
    except KeyError:
        return False
    return symbol.is_assigned() or symbol.is_imported()


def _source(module: str) -> str:
    spec = find_spec(module)
    loader = spec.loader if spec else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise ImportError(f"{module} has no source")
    return source
