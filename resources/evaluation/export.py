"""Judged queries written to files, from which the same set is read again."""

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, get_args

from bson import json_util

from resources.core.errors import EvaluationError
from resources.core.keys import SHOWN
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.evaluation.runs import judgement_lines

Format = Literal["jsonl", "csv", "trec"]
FORMATS: tuple[Format, ...] = get_args(Format)

_COLUMNS = ("id", "query", "relevant", "filter", "segments")


def export(queries: Iterable[JudgedQuery], path: Path, to: Format) -> tuple[list[Path], int]:
    """Write a set; the files are there whole, or as they were before.

    Args:
        queries: The set.
        path: Of the file; of TREC's two, `set.trec` is `set.qrels.txt` and `set.topics.jsonl`.
        to: The format.

    Returns:
        The files, and how many queries they hold.

    Raises:
        EvaluationError: The format cannot hold one of them.
        OSError: A file cannot be written.
    """
    paths = trec_paths(path) if to == "trec" else [path]
    write = {"jsonl": _jsonl, "csv": _csv, "trec": _trec}[to]
    count = 0

    def counted() -> Iterator[JudgedQuery]:
        nonlocal count
        for query in queries:
            count += 1
            yield query

    with _replacing(paths) as files:
        write(counted(), *files)
    return paths, count


def trec_paths(path: Path) -> list[Path]:
    """Judgements and queries of an export to TREC's format."""
    stem = path.with_suffix("") if path.suffix else path
    return [Path(f"{stem}.qrels.txt"), Path(f"{stem}.topics.jsonl")]


def _jsonl(queries: Iterable[JudgedQuery], file: IO[str]) -> None:
    for query in queries:
        file.write(_json(_record(query)) + "\n")


def _csv(queries: Iterable[JudgedQuery], file: IO[str]) -> None:
    rows = csv.writer(file)
    rows.writerow(_COLUMNS)
    for query in queries:
        if "\0" in query.text + query.id:
            raise EvaluationError(
                f"query {query.id!r} holds the character NUL, which no CSV file can: use "
                "`--format jsonl`"
            )
        cells = _record(query)
        others = (_json(cells[name]) if name in cells else "" for name in _COLUMNS[2:])
        rows.writerow([query.id, query.text, *others])


def _trec(queries: Iterable[JudgedQuery], qrels: IO[str], topics: IO[str]) -> None:
    for query in queries:
        qrels.writelines(judgement_lines([query]))
        found = _record(query)
        topic = {"_id": found.pop("id"), "text": found.pop("query")}
        relevant = found.pop("relevant")
        # Of what nothing answers the judgements say nothing.
        topics.write(_json({**topic, **found} | ({} if relevant else {"relevant": []})) + "\n")


def _record(query: JudgedQuery) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": query.id,
        "query": query.text,
        "relevant": list(map(_judged, query.judgements)),
    }
    if query.filter:
        found["filter"] = query.filter
    if query.segments:
        found["segments"] = dict(query.segments)
    return found


def _judged(judgement: Judgement) -> Any:
    if judgement.grade == 1 and not isinstance(judgement.id, dict):
        return judgement.id
    return {"id": judgement.id, "grade": judgement.grade}


def _json(value: Any) -> str:
    if _plain(value):
        return json.dumps(value, ensure_ascii=False)
    return json_util.dumps(value, json_options=SHOWN, ensure_ascii=False)


def _plain(value: Any) -> bool:
    """Whether JSON has all of a value, for that is fast."""
    if type(value) is dict:
        return all(type(name) is str and _plain(each) for name, each in value.items())
    if type(value) is list:
        return all(map(_plain, value))
    return value is None or type(value) in (str, int, bool)


@contextmanager
def _replacing(paths: Sequence[Path]) -> Iterator[Sequence[IO[str]]]:
    """Files that take the place of others once all of them are written; else none does."""
    with ExitStack() as stack:
        names = [_temporary(path, stack.callback) for path in paths]
        files = [
            stack.enter_context(open(name, "w", encoding="utf-8", newline="")) for name in names
        ]
        yield files
        for file in files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for name, path in zip(names, paths, strict=True):
            os.replace(name, path)


def _temporary(path: Path, finally_: Callable[..., Any]) -> Path:
    """Beside the file that it is to become, and readable by the owner only: it holds ids."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    finally_(Path(name).unlink, missing_ok=True)
    return Path(name)
