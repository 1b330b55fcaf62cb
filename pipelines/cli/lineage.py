"""`embeddings lineage`: which model made which vector, and who rests on a model."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import withdrawal
from pipelines.cli.options import AsJson, Configs, OnePipeline, mql, sentences
from pipelines.cli.terminal import Column, Listing, facts, lines, print_json
from pipelines.framework.console import say, styled

if TYPE_CHECKING:
    from pipelines.operations.lineage import Summed, VectorLineage

LIMIT = 20


class ByChoice(StrEnum):
    SPACE = "space"
    RUN = "run"
    MONTH = "month"


def lineage(
    pipeline: OnePipeline = None,
    id: Annotated[  # noqa: A002
        str | None,
        typer.Option(help="`_id` of one document; of a record that was cut, all of its chunks."),
    ] = None,
    filter: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            help="The vectors of these documents: a MongoDB query as Extended JSON, such as "
            '{"embedding_lineage.run": "…"}.',
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000, help="So many vectors of --filter or --id at most.")
    ] = LIMIT,
    summary: Annotated[
        bool,
        typer.Option("--summary", help="Count them: what it does where nothing else is asked."),
    ] = False,
    by: Annotated[ByChoice, typer.Option(help="What --summary tells apart besides.")] = (
        ByChoice.SPACE
    ),
    model: Annotated[
        str | None,
        typer.Option(
            help="Who rests on a model, its family or a part of its name: without PIPELINE in all "
            "deployments of the project, with what its successor costs and takes.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="With --model: another one than its successor."),
    ] = None,
    no_source: Annotated[
        bool, typer.Option("--no-source", help="Do not look for the texts in the source.")
    ] = False,
    dagster_url: Annotated[
        str, typer.Option(help="Of Dagster's UI, for the links to runs.")
    ] = "http://127.0.0.1:3000",
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Say which model made which vector, from which text, in which run and at what cost.

    With --model: which pipelines rest on a model that is withdrawn, and what comes next.
    """
    _one_of({"--id": id, "--filter": filter, "--summary": summary or None, "--model": model})
    if to and not model:
        raise typer.BadParameter("it goes with --model", param_hint="--to")
    if model is not None:
        with sentences():
            withdrawal.show_or_print(
                model, [pipeline] if pipeline else [], config or [], to=to, as_json=as_json
            )
        return
    if pipeline is None:
        raise typer.BadParameter("name a PIPELINE, or give --model", param_hint="PIPELINE")
    wanted = mql(filter)

    from pipelines.operations import lineage as operations

    with sentences():
        if id is None and wanted is None:
            rows = operations.summary(pipeline, config or [], by=by.value)
            if as_json:
                print_json([_summed_as_json(row) for row in rows])
            else:
                _show_summed(pipeline, rows)
            return
        found = operations.of_vectors(
            pipeline,
            config or [],
            document_id=id,
            filter=wanted,
            limit=limit + 1,
            dagster_url=dagster_url,
            source=not no_source,
        )
        rest, found = found[limit:], found[:limit]
        if as_json:
            listed = [_vector_as_json(each) for each in found]
            one = id is not None and len(listed) == 1 and found[0].place is None
            print_json(listed[0] if one or _named(id, found) else listed)
            return
        for each in found:
            _show_vector(each)
        if not found:
            say("no vector of {pipeline} is in a document like that", pipeline=pipeline)
        if rest:
            say("[dim]there are more: --limit shows up to 1,000[/dim]")


def _one_of(given: Mapping[str, Any]) -> None:
    said = [name for name, value in given.items() if value is not None]
    if len(said) > 1:
        raise typer.BadParameter(f"{' and '.join(said)} exclude one another: give one of them")


def _named(id: str | None, found: "Sequence[VectorLineage]") -> bool:  # noqa: A002
    """Whether it is a chunk's own id, and not its record's."""
    from resources.core.keys import candidates, key

    return id is not None and [key(each.id) for each in found] in [
        [key(each)] for each in candidates(id)
    ]


def _show_summed(pipeline: str, found: "Sequence[Summed]") -> None:
    if not found:
        say("{pipeline} has no vectors yet: `embeddings run {pipeline}`", pipeline=pipeline)
        return
    named = [each for each in ("run", "month") if any(getattr(row, each) for row in found)]
    others = len({row.pipeline for row in found}) > 1
    listing = Listing(
        "model and space",
        "state",
        *(["pipeline"] if others else []),
        *named,
        Column("vectors", right=True),
        Column("size", right=True),
        "stored as",
        "revision",
        Column("width", right=True),
        "made",
    )
    for row in found:
        listing.row(
            lines([row.model, styled("[dim]{space}[/dim]", space=row.space)]),
            lines([row.state, styled("[dim]at {path}[/dim]", path=row.path)]),
            *([row.pipeline] if others else []),
            *(getattr(row, each) or "?" for each in named),
            f"{row.vectors:,}",
            "?" if row.bytes is None else f"{row.bytes / 1e6:,.1f} MB",
            row.stored_as,
            (row.meaning.revision or "-") if row.meaning else "?",
            str(row.meaning.dimensions) if row.meaning else "?",
            lines([f"{_minute(row.first)} to", _minute(row.last)]),
        )
    listing.show()
    say("[dim]{total:,} vectors; times in UTC[/dim]", total=sum(row.vectors for row in found))
    if cut := sum(row.cut for row in found):
        say("[dim]{cut:,} of them know only the beginning of their text[/dim]", cut=cut)


def _minute(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "?"


def _show_vector(found: "VectorLineage") -> None:
    from assets.work.budget import dollars
    from resources.core.keys import shown

    stored, meaning, details = found.lineage, found.meaning, found.details or {}
    rows: dict[str, Any] = {"document": shown(found.id)}
    if found.source_id is not None and found.source_id != found.id:
        rows["source record"] = shown(found.source_id)
    place = found.place or {}
    if "start" in place:
        rows["chunk"] = f"{place.get('index')}, characters {place['start']} to {place.get('end')}"
    rows |= {
        "text": "none any more" if found.excerpt is None else " ".join(found.excerpt.split()),
        "text hash": stored.get("text_hash"),
        "in the source": _source(found),
        "cut by": stored.get("chunker") or "nothing: the whole document",
        **({"read": "only the beginning of the text"} if stored.get("cut") else {}),
        "model": stored.get("model"),
        "provider": meaning.provider if meaning else None,
        "revision": (meaning.revision or "-") if meaning else None,
        "dimensions": meaning.dimensions if meaning else None,
        "document prompt": repr(meaning.document_prompt) if meaning else None,
        "stored as": stored.get("stored_as", "float32"),
        "space": f"{stored.get('space')}, {found.state}",
        "lies at": found.path or None,
        "batch": stored.get("batch"),
        "batch file": found.batch_file + ("" if found.details else ", which is gone"),
        "took": _took(found, dollars),
        "Dagster run": stored.get("run"),
        "link": found.run_url or None,
        "made at": f"{stored['at']:%Y-%m-%d %H:%M:%S} UTC" if stored.get("at") else None,
        "pipeline": stored.get("pipeline"),
    }
    rows |= details.get("versions") or {}
    rows |= {f"code: {name}": each for name, each in (details.get("code") or {}).items()}
    for each in found.spaces:
        if each.path != found.path:
            same = "the same text" if each.same_text else "another text"
            whose = "" if each.pipeline == stored.get("pipeline") else f", of {each.pipeline}"
            rows[f"beside, at {each.path}"] = f"{each.space}, {each.state}, of {same}{whose}"
    facts({name: "?" if value is None else str(value) for name, value in rows.items()})


def _source(found: "VectorLineage") -> str:
    said = {
        "same": "the same text still",
        "changed": "the text has changed since",
        "gone": "the record is gone",
        "refused": "the record cannot be embedded any more",
        "unknown": "it cannot be told whether the text has changed",
    }[found.source.state]
    return f"{said}: {found.source.why}" if found.source.why else said


def _took(found: "VectorLineage", dollars: Any) -> str | None:
    share = found.share
    if share is None:
        return None
    parts = [] if share.tokens is None else [f"{share.tokens:,} tokens"]
    if share.batch_tokens is not None:
        parts.append(f"of {share.batch_tokens:,} billed for its batch")
    if share.cost_usd is not None:
        even = ", by texts" if share.by == "texts" else ""
        parts.append(f"{dollars(share.cost_usd)}{even}" if share.cost_usd else "$0")
    return " ".join(parts) if parts else None


def _summed_as_json(row: "Summed") -> dict[str, Any]:
    return {
        "model": row.model,
        "space": row.space,
        "state": row.state,
        "pipeline": row.pipeline,
        "path": row.path,
        "stored_as": row.stored_as,
        "vectors": row.vectors,
        "bytes": row.bytes,
        "cut": row.cut,
        "first": row.first and row.first.isoformat(),
        "last": row.last and row.last.isoformat(),
        "run": row.run,
        "month": row.month,
        "meaning": row.meaning.to_document() if row.meaning else None,
    }


def _vector_as_json(found: "VectorLineage") -> dict[str, Any]:
    import dataclasses

    from pipelines.operations.search.as_json import jsonable

    return {
        "id": jsonable(found.id),
        "source_id": jsonable(found.source_id),
        "path": found.path,
        "state": found.state,
        "lineage": jsonable(dict(found.lineage)),
        "meaning": found.meaning.to_document() if found.meaning else None,
        "excerpt": found.excerpt,
        "chunk": jsonable(dict(found.place)) if found.place else None,
        "batch": found.details,
        "batch_file": found.batch_file,
        "run_url": found.run_url,
        "share": dataclasses.asdict(found.share) if found.share else None,
        "source": dataclasses.asdict(found.source),
        "spaces": [
            {**dataclasses.asdict(each), "at": each.at and each.at.isoformat()}
            for each in found.spaces
        ],
    }
