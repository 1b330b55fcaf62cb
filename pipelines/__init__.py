"""The user's pipelines, one module each; `framework`, `operations`, `serving` and `cli` are ours.

The user's modules lie in `pipelines/` of the project, ours beside this file; in the checkout both
are one folder. Theirs must have no `__init__.py`, which would hide this one.

Users import from here `EmbeddingPipeline`, to declare a pipeline, `search`, to ask one,
`open_searcher`, for what asks many times, `evaluate`, to compare it with what it might be, and
`spaces`, `promote`, `rollback` and `retire`, to go over to another model. Each is loaded when it is
asked for: importing `pipelines` loads no Dagster.
"""

import importlib
from typing import TYPE_CHECKING, Any

from resources.core.paths import CODE_ROOT, find_project

if TYPE_CHECKING:
    from pipelines.framework.pipeline import EmbeddingPipeline
    from pipelines.operations.evaluation import evaluate
    from pipelines.operations.search import open_searcher, search
    from pipelines.operations.spaces import promote, retire, rollback, spaces

_project = find_project() or CODE_ROOT
if _project != CODE_ROOT:
    __path__.append(str(_project / "pipelines"))

__all__ = [
    "EmbeddingPipeline",
    "evaluate",
    "open_searcher",
    "promote",
    "retire",
    "rollback",
    "search",
    "spaces",
]

_MODULES = {
    "EmbeddingPipeline": "pipelines.framework.pipeline",
    "evaluate": "pipelines.operations.evaluation",
    "open_searcher": "pipelines.operations.search",
    "promote": "pipelines.operations.spaces",
    "retire": "pipelines.operations.spaces",
    "rollback": "pipelines.operations.spaces",
    "search": "pipelines.operations.search",
    "spaces": "pipelines.operations.spaces",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
