"""The commands `embeddings index …`: the search indexes over a pipeline's vectors."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import WRONG, AsJson, Configs, Pipeline, progress_apart, sentences
from pipelines.cli.terminal import Column, Listing, lines, print_json
from pipelines.framework.console import plain, say
from resources.core.errors import SearchIndexError

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from assets.work.opened import Opened
    from resources.search_index.mongodb.lifecycle import IndexState

app = typer.Typer(no_args_is_help=True, help="List a collection's search indexes, or drop one.")


@app.command("list")
def list_(pipeline: Pipeline, as_json: AsJson = False, config: Configs = None) -> None:
    """List the search indexes of the pipeline's collection."""
    from pipelines.framework.catalog import open_pipeline

    with sentences():
        with open_pipeline(pipeline, config or []) as opened:
            found = _indexes(opened)
            where, declared = _collection(opened).full_name, list(_own(opened))
        if as_json:
            print_json([dataclasses.asdict(state) for state in found])
        else:
            _show(found, where, declared)


@app.command("drop")
def drop(
    pipeline: Pipeline,
    name: Annotated[
        str | None, typer.Option(help="Of the index; default: what is the pipeline's own.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Drop a search index; the vectors stay, and the next run can build it again."""
    from pipelines.framework.catalog import open_pipeline

    with sentences():
        with progress_apart(as_json), open_pipeline(pipeline, config or []) as opened:
            dropped = list(_drop(opened, name, yes=yes))
        if as_json:
            print_json({"pipeline": pipeline, "dropped": dropped})
            return
        say(
            "the vectors are still there, and `embeddings run {pipeline}` builds what is declared "
            "again",
            pipeline=pipeline,
        )


def _drop(opened: "Opened", name: str | None, *, yes: bool) -> Iterator[str]:
    """Drop one index after the other, each once that is confirmed; their names."""
    from resources.search_index.mongodb.lifecycle import index_errors

    there = _indexes(opened)  # raises where the deployment has none at all
    collection, own = _collection(opened), _own(opened)
    known = {state.name: state for state in there}
    serving = opened.record.entry(opened.record.serving)
    first = opened.at(serving.place if serving else "").search_index.name
    wanted = [name] if name else [each for each in _names(opened, first) if each in known]
    if not wanted or wanted[0] not in known:
        raise SearchIndexError(
            f"{collection.full_name} has no search index {name or first}; "
            f"it has: {', '.join(known) or 'none'}"
        )
    for each in wanted:
        state = known[each]
        serves = "it serves searches now" if state.queryable else f"it is {state.status}"
        question = plain(f"Drop {each} of {collection.full_name}? ({serves})")
        if not yes and not typer.confirm(question, err=True):
            raise typer.Exit(WRONG)
        with index_errors(collection, each):
            collection.drop_search_index(each)
        key = opened.at(own.get(each, "")).vector_store.key(opened.source)
        opened.registry.indexes.forget_maker(key.index(each))
        say("dropped {index} of {where}", index=each, where=collection.full_name)
        yield each


def _show(found: "Sequence[IndexState]", where: str, declared: Sequence[str]) -> None:
    from resources.search_index.mongodb import text_definition

    if not found:
        say(
            "{where} has no search index yet: run the pipeline to build {built}",
            where=where,
            built=" and ".join(declared),
        )
        return
    listing = Listing(
        Column("index", style="cyan"),
        "type",
        "status",
        "serves",
        Column("documents", right=True),
        Column("fields", prose=True),
    )
    for state in found:
        fields = [
            f"{field.get('path')} ({field.get('similarity') or field.get('type')})"
            for field in state.definition.get("fields", [])
        ]
        fields += text_definition.described(state.definition)
        listing.row(
            state.name + (" *" if state.name in declared else ""),
            state.type,
            state.status,
            "yes" if state.queryable else "no",
            "?" if state.indexed is None else f"{state.indexed:,}",
            lines(fields),
        )
    listing.show()
    say("[dim]of {where}; * is the pipeline's own[/dim]", where=where)


def _own(opened: "Opened") -> dict[str, str]:
    """The pipeline's own indexes, each with the place of its space; the serving one's first."""
    record = opened.record
    entries = [each for each in record.entries() if not each.retired]
    entries.sort(key=lambda each: each.space_id != record.serving)
    places = list(dict.fromkeys(each.place for each in entries)) or [""]
    return {
        name: place
        for place in places
        for name in _names(opened, opened.at(place).search_index.name)
    }


def _names(opened: "Opened", name: str) -> list[str]:
    """Of a space's: over the vectors, and over the texts where that is declared."""
    from resources.search_index.mongodb.text_definition import index_name

    return [name, *([index_name(name)] if opened.search_index.text else [])]


def _collection(opened: "Opened") -> "Collection":
    database, collection = opened.vector_store.namespace(opened.source)
    return opened.client[database][collection]


def _indexes(opened: "Opened") -> "list[IndexState]":
    from resources.mongodb.deployment import inspect_deployment
    from resources.search_index.mongodb.lifecycle import index_errors, list_indexes

    collection = _collection(opened)
    found = inspect_deployment(opened.client, collection.database.name)
    if not found.vector_search:
        raise SearchIndexError(
            f"{found}, and so no search indexes: its pipelines are searched by the local engine, "
            "whose files lie in the batch store"
        )
    with index_errors(collection, opened.search_index.name):
        return list_indexes(collection)
