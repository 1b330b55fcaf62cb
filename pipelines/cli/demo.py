"""`embeddings demo`, what `make demo` runs: the quickstart from its first run to its figures."""

from pipelines.cli import run, search
from pipelines.cli.options import sentences
from pipelines.framework.console import say

QUERIES = ("a robot that learns to feel", "my bike tyre keeps losing air")


def demo() -> None:
    """Run the quickstart pipeline, search it, and say what to do next."""
    from pipelines.framework import execution
    from pipelines.operations.search import open_searcher

    with sentences():
        say(
            "[bold]quickstart[/bold]: 180 texts, a local model, the embedded server; "
            "about a minute the first time"
        )
        outcome = execution.run("quickstart")
        run.show(outcome, "quickstart")
        with open_searcher("quickstart", follow=False) as searcher:
            for query in QUERIES:
                search.show(searcher.search(query, limit=3))
        if outcome.measured is not None:
            say("\n[bold]How good is that?[/bold]  {said}", said=run.quality(outcome.measured))
        say(
            """
[bold]Next[/bold]  (commands are in .venv/bin)
  make dev                             runs, lineage, metadata in the Dagster UI
  embeddings serve                     a page to search with
  embeddings search quickstart "…"     ask it something yourself
  embeddings evaluate quickstart --mode text,hybrid
                                       would words help? with -c: another model?
  embeddings lineage quickstart        which model made which vector
  configs/quickstart.yaml              your own data: files, MongoDB
  embeddings run quickstart -c mongodb/server.yaml -c embedder/voyage.yaml
                                       Atlas and Voyage AI instead"""
        )
