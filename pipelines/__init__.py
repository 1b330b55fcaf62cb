"""The user's pipelines, one module each; `framework`, `operations`, `serving` and `cli` are ours.

The user's modules lie in `pipelines/` of the project, ours beside this file; in the checkout both
are one folder. Theirs must have no `__init__.py`, which would hide this one.

Users import four names from here: `EmbeddingPipeline`, to declare a pipeline, `search`, to ask
one, `open_searcher`, for what asks many times, and `evaluate`, to compare it with what it might be.
Each is loaded when it is asked for: importing `pipelines` loads no Dagster.
"""

import importlib
from typing import TYPE_CHECKING, Any

from resources.core.paths import CODE_ROOT, find_project

if TYPE_CHECKING:
    from pipelines.framework.pipeline import EmbeddingPipeline
    from pipelines.operations.evaluation import evaluate
    from pipelines.operations.search import open_searcher, search

_project = find_project() or CODE_ROOT
if _project != CODE_ROOT:
    __path__.append(str(_project / "pipelines"))

__all__ = ["EmbeddingPipeline", "evaluate", "open_searcher", "search"]

_MODULES = {
    "EmbeddingPipeline": "pipelines.framework.pipeline",
    "evaluate": "pipelines.operations.evaluation",
    "open_searcher": "pipelines.operations.search",
    "search": "pipelines.operations.search",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
