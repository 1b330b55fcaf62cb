"""`embeddings lineage`: which model made which vector."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import AsJson, Configs, Pipeline, sentences
from pipelines.cli.terminal import Column, Listing, facts, lines, print_json
from pipelines.framework.console import say, styled

if TYPE_CHECKING:
    from pipelines.operations.lineage import ModelSummary, VectorLineage


def lineage(
    pipeline: Pipeline,
    id: Annotated[str | None, typer.Option(help="`_id` of one document.")] = None,  # noqa: A002
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Say which model made each vector, or everything about one."""
    from pipelines.operations.lineage import of_vector, summary

    with sentences():
        if id is None:
            models = summary(pipeline, config or [])
            if as_json:
                print_json([_model_as_json(row) for row in models])
            else:
                _show_models(pipeline, models)
        else:
            found = of_vector(pipeline, id, config or [])
            if as_json:
                print_json(_vector_as_json(found))
            else:
                _show_vector(found)


def _show_models(pipeline: str, found: "Sequence[ModelSummary]") -> None:
    if not found:
        say("{pipeline} has no vectors yet: `embeddings run {pipeline}`", pipeline=pipeline)
        return
    listing = Listing(
        "model and space",
        Column("vectors", right=True),
        "revision",
        Column("width", right=True),
        "made",
    )
    for row in found:
        listing.row(
            lines([row.model, styled("[dim]{space}[/dim]", space=row.space)]),
            f"{row.vectors:,}",
            (row.meaning.revision or "-") if row.meaning else "?",
            str(row.meaning.dimensions) if row.meaning else "?",
            lines([f"{row.first:%Y-%m-%d %H:%M} to", f"{row.last:%Y-%m-%d %H:%M}"]),
        )
    listing.show()
    say("[dim]{total:,} vectors; times in UTC[/dim]", total=sum(row.vectors for row in found))


def _show_vector(found: "VectorLineage") -> None:
    from resources.core.keys import shown

    stored, meaning = found.lineage, found.meaning
    rows: dict[str, Any] = {
        "document": shown(found.id),
        "model": stored.get("model"),
        "provider": meaning.provider if meaning else None,
        "revision": (meaning.revision or "-") if meaning else None,
        "dimensions": meaning.dimensions if meaning else None,
        "document prompt": repr(meaning.document_prompt) if meaning else None,
        "space": stored.get("space"),
        "text hash": stored.get("text_hash"),
        "cut by": stored.get("chunker") or "nothing: the whole document",
        **({"read": "only the beginning of the text"} if stored.get("cut") else {}),
        "batch": stored.get("batch"),
        "Dagster run": stored.get("run"),
        "made at": f"{stored['at']:%Y-%m-%d %H:%M:%S} UTC" if "at" in stored else None,
        "pipeline": stored.get("pipeline"),
    }
    rows |= (found.details or {}).get("versions") or {}
    facts({name: "?" if value is None else str(value) for name, value in rows.items()})


def _model_as_json(row: "ModelSummary") -> dict[str, Any]:
    return {
        "model": row.model,
        "space": row.space,
        "vectors": row.vectors,
        "first": row.first.isoformat(),
        "last": row.last.isoformat(),
        "meaning": row.meaning.to_document() if row.meaning else None,
    }


def _vector_as_json(found: "VectorLineage") -> dict[str, Any]:
    from pipelines.operations.search.as_json import jsonable

    return {
        "id": jsonable(found.id),
        "lineage": jsonable(dict(found.lineage)),
        "meaning": found.meaning.to_document() if found.meaning else None,
        "batch": found.details,
    }
