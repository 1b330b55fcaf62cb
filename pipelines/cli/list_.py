"""`embeddings list`: the pipelines of this project."""

from pipelines.cli.options import AsJson, sentences
from pipelines.cli.terminal import print_json
from pipelines.framework.console import say


def list_(as_json: AsJson = False) -> None:
    """List the pipelines, and what is wrong with those that cannot be loaded."""
    from pipelines.framework import modules
    from resources.core.paths import project_root

    with sentences():
        project_root()
        if as_json:
            print_json(
                [
                    {"pipeline": found.name, "broken": found.fault or None}
                    for found in modules.declared()
                ]
            )
            return
        for found in modules.declared():
            if found.fault:
                say("{name}  [red]broken[/red]: {fault}", name=found.name, fault=found.fault)
            else:
                say("{name}", name=found.name)
