"""`embeddings search`: one question, or those on standard input, one a line."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pipelines.cli.options import (
    WRONG,
    AsJson,
    Configs,
    Pipeline,
    collect_from_now_on,
    mql,
    say_error,
    sentences,
)
from pipelines.cli.streams import unread
from pipelines.cli.terminal import document, paragraph, print_json, print_json_line, shortened
from pipelines.framework.console import say, styled
from resources.core.errors import QueryRefused

if TYPE_CHECKING:
    from pipelines.operations.search import SearchAnswer, Searcher, SearchHit, SearchOptions

STANDARD_INPUT = "-"


class ModeChoice(StrEnum):
    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"


def search(
    pipeline: Pipeline,
    query: Annotated[
        str,
        typer.Argument(
            help="What to look for; - for one question a line of standard input.", metavar="QUERY"
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, help="At most this many results.")] = 5,
    mode: Annotated[
        ModeChoice, typer.Option(help="vector, text (by words) or hybrid (both).")
    ] = ModeChoice.VECTOR,
    filter: Annotated[  # noqa: A002
        str | None, typer.Option(help="MQL as JSON over the index's filter fields.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every vector.")] = False,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="How many vectors an approximate search considers.")
    ] = None,
    weights: Annotated[
        tuple[float, float], typer.Option(help="Of vector and text in a hybrid search.")
    ] = (1.0, 1.0),
    rank_constant: Annotated[
        int,
        typer.Option(min=1, help="Of a hybrid search; the larger, the less first places count."),
    ] = 60,
    group: Annotated[
        bool, typer.Option("--group", help="Only the best chunk of each source document.")
    ] = False,
    expand: Annotated[
        int,
        typer.Option(min=0, help="Show the text around each hit, so many chunks on either side."),
    ] = 0,
    diversity: Annotated[
        float,
        typer.Option(min=0, max=1, help="0 to 1: how much a hit loses that is like a better one."),
    ] = 0.0,
    min_score: Annotated[float | None, typer.Option(help="Leave out what scores less.")] = None,
    rerank: Annotated[
        bool, typer.Option(help="Let the pipeline's reranker, if it has one, order the results.")
    ] = True,
    space: Annotated[
        str | None,
        typer.Option(
            help="Ask another space of the pipeline than the one that serves: its id, or how that "
            "begins.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the stage sent, and what a score stands for.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Find the documents nearest to a text."""
    from pipelines.operations.search import SearchOptions, open_searcher
    from pipelines.operations.search.as_json import answer_as_json

    # The model's library is still to be imported.
    with sentences(collecting=False):
        options = SearchOptions(
            limit=limit,
            mode=cast(Any, mode.value),
            filter=mql(filter),
            exact=exact,
            num_candidates=candidates,
            weights=weights,
            rank_constant=rank_constant,
            group_by_source=group,
            expand=expand,
            diversity=diversity,
            min_score=min_score,
            rerank=rerank,
        )
        many = query == STANDARD_INPUT
        with open_searcher(pipeline, config or [], follow=many, space=space) as searcher:
            if many:
                failed = _each(searcher, options, as_json=as_json, explain=explain)
            else:
                failed = False
                answer = searcher.search(query, **options)
                collect_from_now_on()
                if as_json:
                    print_json(answer_as_json(answer))
                else:
                    show(answer, explain=explain)
    if failed:
        raise typer.Exit(WRONG)


def show(found: "SearchAnswer", *, explain: bool = False) -> None:
    from pipelines.operations.search.as_json import jsonable

    say("\n[bold]{query}[/bold]\n", query=found.query)
    if not found.hits:
        say("nothing found: {why}", why=found.why_empty or "nothing is near enough")
    for hit in found.hits:
        _show_hit(hit)
    say(
        "[dim]index space {space}, engine {engine}, {seconds:.2f} s[/dim]",
        space=found.space.id,
        engine=found.engine,
        seconds=found.seconds,
    )
    for note in found.notes:
        say("[yellow]{note}[/yellow]", note=note)
    if explain:
        say("[dim]score: {score}[/dim]", score=found.scored_by)
        document(jsonable(dict(found.stage)))


def _show_hit(hit: "SearchHit") -> None:
    from resources.core.keys import shown

    more = styled("")
    if hit.others:
        more = styled(
            "  [dim]and {count} more of {source}[/dim]",
            count=hit.others,
            source=shown(hit.source_id),
        )
    say(
        "[green]{score:.4f}[/green]  [cyan]{id}[/cyan]{more}  [dim]{ranks}[/dim]",
        score=hit.score,
        id=shown(hit.id),
        more=more,
        ranks=", ".join(f"{name} {rank}" for name, rank in hit.ranks.items()),
    )
    paragraph(shortened(hit.context or hit.text or "", 480 if hit.context else 160), indent=8)
    say(
        "        [dim]{model}, run {run}[/dim]\n",
        model=hit.lineage.get("model", "?"),
        run=hit.lineage.get("run", "?"),
    )


def _each(searcher: "Searcher", options: "SearchOptions", *, as_json: bool, explain: bool) -> bool:
    """Answer every line as it comes, while somebody reads; whether one was refused.

    JSON has a line for each as well.
    """
    from pipelines.operations.search.as_json import answer_as_json

    failed = False
    if options.get("mode") != "text":
        searcher.prepare()
    collect_from_now_on()
    for line in sys.stdin:
        if unread():
            break
        if not (question := line.strip()):
            continue
        try:
            answer = searcher.search(question, **options)
        except QueryRefused as refused:  # the next one may be better
            failed = True
            if as_json:
                print_json_line({"query": question, "error": str(refused)})
            else:
                say_error(refused)
            continue
        if as_json:
            print_json_line(answer_as_json(answer))
        else:
            show(answer, explain=explain)
    return failed
