"""`embeddings stop`: end the embedded server."""

from pipelines.cli.options import AsJson, Configs, OnePipeline, sentences
from pipelines.cli.terminal import print_json
from pipelines.framework.console import say


def stop(pipeline: OnePipeline = None, as_json: AsJson = False, config: Configs = None) -> None:
    """Stop the embedded server; its data stays."""
    from pipelines.framework import catalog, modules
    from resources.mongodb import embedded
    from resources.mongodb.resource import Embedded

    with sentences():
        folders = {}
        sound = (found.name for found in modules.declared() if not found.fault)
        for name in [pipeline] if pipeline else sound:
            missing = catalog.missing_variables(name, config or [])
            with catalog.open_pipeline(name, config or [], without=missing) as opened:
                deployment = opened.mongodb.deployment
                if isinstance(deployment, Embedded):
                    folders[deployment.path] = name
        stopped = [folder for folder in folders if embedded.stop(folder)]
        if as_json:
            print_json({"stopped": stopped})
            return
        for folder in stopped:
            say("stopped the embedded server in {folder}", folder=folder)
        if not stopped:
            say("no embedded server is running")
