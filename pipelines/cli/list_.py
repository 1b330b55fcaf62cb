"""`embeddings list`: the pipelines of this project."""

from pipelines.cli.options import sentences
from pipelines.framework.console import say


def list_() -> None:
    """List the pipelines, and what is wrong with those that cannot be loaded."""
    from pipelines.framework import modules
    from resources.core.paths import project_root

    with sentences():
        project_root()
        for found in modules.declared():
            if found.fault:
                say("{name}  [red]broken[/red]: {fault}", name=found.name, fault=found.fault)
            else:
                say("{name}", name=found.name)
