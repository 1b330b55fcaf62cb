"""The user's pipelines, one module each; `framework`, `operations` and `cli` are ours.

Users import two names from here: `EmbeddingPipeline`, to declare a pipeline, and `search`, to ask
one. Either is loaded when it is asked for: importing `pipelines` loads no Dagster.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.framework.pipeline import EmbeddingPipeline
    from pipelines.operations.search import search

__all__ = ["EmbeddingPipeline", "search"]

_MODULES = {
    "EmbeddingPipeline": "pipelines.framework.pipeline",
    "search": "pipelines.operations.search",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
