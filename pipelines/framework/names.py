"""The names of the pipelines that there are; none is imported for it, and no Dagster."""

import pkgutil
import symtable
from importlib.abc import InspectLoader
from importlib.util import find_spec

import pipelines

OURS = ("cli", "framework", "integrations", "operations", "serving")


def pipeline_names() -> list[str]:
    """Modules that bind the name `pipeline` or do not parse."""
    names = (module.name for module in pkgutil.iter_modules(pipelines.__path__))
    return sorted(name for name in names if name not in OURS and _binds_pipeline(name))


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
