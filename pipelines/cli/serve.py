"""The command `embeddings serve`."""

from typing import Annotated

import typer

from pipelines.cli.options import Configs, sentences
from pipelines.framework.console import say


def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; one that others can reach needs EMBEDDINGS_TOKEN."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Default: 8080, or a free one where that is taken."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name that the server answers to; may be repeated."),
    ] = None,
    dagster_url: Annotated[
        str, typer.Option(envvar="DAGSTER_UI_URL", help="Where Dagster's UI shows runs.")
    ] = "http://127.0.0.1:3000",
    config: Configs = None,
) -> None:
    """Serve a page to search with, and the same as JSON; stop it with Ctrl-C."""
    # Only this command needs a web server's packages.
    from pipelines.serving import server
    from pipelines.serving.app import Application
    from pipelines.serving.offered import Offered
    from resources.core.paths import project_root

    with sentences():
        project_root()
        url = server.checked_url(dagster_url)
        own = server.bound(host, port)
        access = server.access(own, host, allow_host or [])
        application = Application(Offered(config or []), access, url)
        where = server.address_of(own)
        server.serve(application, own, lambda: say("serving on {where}", where=where))
