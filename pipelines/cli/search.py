"""`embeddings search`: one question, or those on standard input, one a line."""

import json
import sys
from typing import Annotated, Any, cast

import typer
from bson import json_util

from pipelines.cli import answers
from pipelines.cli.options import (
    AsJson,
    Configs,
    Pipeline,
    collect_from_now_on,
    print_json,
    say_error,
    sentences,
)
from pipelines.operations.search import Searcher, SearchOptions, open_searcher
from pipelines.operations.search.as_json import answer_as_json
from resources.core.errors import QueryRefused

STANDARD_INPUT = "-"


def search(
    pipeline: Pipeline,
    query: Annotated[
        str, typer.Argument(help="What to look for; - for one question a line of standard input.")
    ],
    limit: Annotated[int, typer.Option(help="At most this many results.")] = 5,
    mode: Annotated[str, typer.Option(help="vector, text (by words) or hybrid (both).")] = "vector",
    filter: Annotated[  # noqa: A002
        str | None, typer.Option(help="MQL as JSON over the index's filter fields.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every vector.")] = False,
    candidates: Annotated[
        int | None, typer.Option(help="How many vectors an approximate search considers.")
    ] = None,
    weights: Annotated[
        tuple[float, float], typer.Option(help="Of vector and text in a hybrid search.")
    ] = (1.0, 1.0),
    rank_constant: Annotated[
        int, typer.Option(help="Of a hybrid search; the larger, the less first places count.")
    ] = 60,
    group: Annotated[
        bool, typer.Option("--group", help="Only the best chunk of each source document.")
    ] = False,
    expand: Annotated[
        int, typer.Option(help="Show the text around each hit, so many chunks on either side.")
    ] = 0,
    diversity: Annotated[
        float, typer.Option(help="0 to 1: how much a hit loses that is like a better one.")
    ] = 0.0,
    min_score: Annotated[float | None, typer.Option(help="Leave out what scores less.")] = None,
    rerank: Annotated[
        bool, typer.Option(help="Let the pipeline's reranker, if it has one, order the results.")
    ] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the stage sent, and what a score stands for.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Find the documents nearest to a text."""
    with sentences():
        options = SearchOptions(
            limit=limit,
            mode=cast(Any, mode),
            filter=_parsed(filter),
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
        with open_searcher(pipeline, config or [], follow=many) as searcher:
            if many:
                failed = _each(searcher, options, as_json=as_json, explain=explain)
            else:
                failed = False
                answer = searcher.search(query, **options)
                collect_from_now_on()
                if as_json:
                    print_json(answer_as_json(answer))
                else:
                    answers.answer(answer, explain=explain)
    if failed:
        raise typer.Exit(1)


def _each(searcher: Searcher, options: SearchOptions, *, as_json: bool, explain: bool) -> bool:
    """Answer every line as it comes; whether one was refused. JSON has a line for each as well."""
    failed = False
    if options.get("mode") != "text":
        searcher.prepare()
    collect_from_now_on()
    for line in sys.stdin:
        if not (question := line.strip()):
            continue
        try:
            answer = searcher.search(question, **options)
        except QueryRefused as refused:  # the next one may be better
            failed = True
            if as_json:
                _line({"query": question, "error": str(refused)})
            else:
                say_error(refused)
            continue
        if as_json:
            _line(answer_as_json(answer))
        else:
            answers.answer(answer, explain=explain)
    return failed


def _line(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def _parsed(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json_util.loads(text)
    except (ValueError, TypeError) as error:
        raise QueryRefused(
            f'--filter is not JSON ({error}); write it as \'{{"year": {{"$gte": 2000}}}}\''
        ) from error
    if not isinstance(value, dict):
        raise QueryRefused('--filter must be a JSON object: \'{"kind": "film"}\'')
    return value
