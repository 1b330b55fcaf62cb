"""What is answered over HTTP."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, get_args

from assets.work.opened import Opened
from pipelines.operations.search import SearchAnswer, Searcher
from pipelines.operations.search.as_json import answer_as_json
from pipelines.serving.question import Question
from pipelines.serving.sentences import discreet, discreet_values
from resources.core.errors import EmbeddingsError
from resources.search_index.query import Mode


def reply(
    question: Question, found: Sequence[SearchAnswer], run_url: Callable[[str], str]
) -> bytes:
    """The answers to a question, as JSON."""
    answers = [_answer(each, question.max_text, run_url) for each in found]
    content = {"pipeline": question.pipeline, "answers": answers}
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def about(name: str, searcher: Searcher, space: str | None = None) -> dict[str, Any]:
    """What a pipeline can be asked for; loads its model and its index."""
    serving = searcher.serving(space)
    searcher.prepare(space)
    spaces = searcher.spaces()
    no_text = discreet(serving.index.why_no_text())
    return {
        "name": name,
        "index": serving.key,
        "engine": serving.index.entry.engine,
        "vectors": serving.index.entry.indexed,
        "space": serving.space.id,
        "spaces": [asdict(each) for each in spaces],
        "model": serving.space.model,
        "dimensions": serving.space.dimensions,
        "fields": list(serving.shown),
        "filter_fields": list(serving.index.filter_fields),
        "reranker": _reranker(serving.opened),
        "modes": {mode: "" if mode == "vector" else no_text for mode in get_args(Mode)},
    }


def _reranker(opened: Opened) -> dict[str, str]:
    try:
        chosen = opened.reranker
        return {"name": str(chosen.facts()) if chosen.chosen else "", "fault": ""}
    except EmbeddingsError as error:  # searches without it can be had all the same
        return {"name": "", "fault": discreet(str(error))}


def _answer(
    found: SearchAnswer, max_text: int | None, run_url: Callable[[str], str]
) -> dict[str, Any]:
    answer = answer_as_json(found)
    for name in ("stage", "why_empty", "notes"):
        answer[name] = discreet_values(answer[name])
    for hit in answer["hits"]:
        run = hit["lineage"].get("run")
        hit["run_url"] = run_url(run) if isinstance(run, str) and run else None
        for name in ("text", "context"):
            hit[name] = _shortened(hit[name], max_text)
    return answer


def _shortened(text: str | None, most: int | None) -> str | None:
    return text if text is None or most is None or len(text) <= most else f"{text[:most]}…"
