"""The commands `embeddings index …`: the search indexes over a pipeline's vectors."""

import dataclasses
from typing import Annotated

import typer

from assets.work.opened import Opened
from pipelines.cli import render
from pipelines.cli.options import AsJson, Configs, Pipeline, print_json, sentences
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.console import console
from resources.core.errors import SearchIndexError
from resources.mongodb.deployment import inspect_deployment
from resources.search_index.mongodb.lifecycle import (
    IndexState,
    find_index,
    index_errors,
    list_indexes,
)

app = typer.Typer(no_args_is_help=True, help="List a collection's search indexes, or drop one.")


@app.command("list")
def list_(pipeline: Pipeline, as_json: AsJson = False, config: Configs = None) -> None:
    """List the search indexes of the pipeline's collection."""
    with sentences():
        with open_pipeline(pipeline, config or []) as opened:
            found = _indexes(opened)
            where, declared = opened.store.collection.full_name, opened.search_index.name
        if as_json:
            print_json([dataclasses.asdict(state) for state in found])
        else:
            render.indexes(found, where, declared)


@app.command("drop")
def drop(
    pipeline: Pipeline,
    name: Annotated[
        str | None, typer.Option(help="Of the index; default: the pipeline's own.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Configs = None,
) -> None:
    """Drop a search index; the vectors stay, and the next run can build it again."""
    with sentences(), open_pipeline(pipeline, config or []) as opened:
        _indexes(opened)  # raises where the deployment has none at all
        collection = opened.store.collection
        wanted = name or opened.search_index.name
        with index_errors(collection, wanted):
            state = find_index(collection, wanted)
            if state is None:
                there = ", ".join(each.name for each in list_indexes(collection)) or "none"
                raise SearchIndexError(
                    f"{collection.full_name} has no search index {wanted}; it has: {there}"
                )
            serves = "it serves searches now" if state.queryable else f"it is {state.status}"
            question = f"Drop {wanted} of {collection.full_name}? ({serves})"
            if not yes and not typer.confirm(question):
                raise typer.Exit(1)
            collection.drop_search_index(wanted)
    console.print(
        f"dropped {wanted} of {collection.full_name}; the vectors are still there, and "
        f"`embeddings run {pipeline}` builds its index again",
        soft_wrap=True,
    )


def _indexes(opened: Opened) -> list[IndexState]:
    collection = opened.store.collection
    found = inspect_deployment(opened.client, collection.database.name)
    if not found.vector_search:
        raise SearchIndexError(
            f"{found} has no search indexes ({found.reason}): its pipelines are searched by the "
            "local engine, whose files lie in the batch store"
        )
    with index_errors(collection, opened.search_index.name):
        return list_indexes(collection)
