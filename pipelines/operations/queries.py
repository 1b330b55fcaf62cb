"""The judged queries of a pipeline: looked at, written by a model, taken in and given away."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from assets.work.opened import Opened
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import EvaluationError, QueryRefused
from resources.core.paths import is_url
from resources.evaluation.export import Format, export
from resources.evaluation.ids import Ids
from resources.evaluation.judged import JudgedQuery, QuerySet, digest
from resources.evaluation.queries.by_model import ByModelQueries
from resources.evaluation.queries.files import CsvQueries, JsonlQueries, ParquetQueries
from resources.evaluation.queries.generated import GeneratedQueries
from resources.evaluation.queries.imported import Import, ImportedQueries, ImportedSet
from resources.evaluation.queries.trec import TrecQueries
from resources.evaluation.queries.writing import Outline, Written
from resources.search_index.filters.evaluation import validate

Readable = Literal["jsonl", "csv", "parquet", "trec"]
READABLE: tuple[Readable, ...] = get_args(Readable)

_BY_SUFFIX: dict[str, Readable] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """A set of judged queries.

    Attributes:
        pipeline: Its name.
        source: Where the set comes from.
        count: Queries in all.
        answerable: Those that something answers.
        digest: The same for the same queries.
        known_item: Each was made from its only relevant document.
        notes: What the figures can claim.
        queries: The first of them.
    """

    pipeline: str
    source: str
    count: int
    answerable: int
    digest: str
    known_item: bool
    notes: Sequence[str]
    queries: Sequence[JudgedQuery]


def listed(
    pipeline: EmbeddingPipeline | str, overrides: Sequence[str | Path] = (), *, limit: int = 0
) -> Listed:
    """The judged queries of a pipeline, all of them read.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        limit: So many are given; 0 for all.

    Raises:
        EvaluationError: There are none, or one cannot be used.
    """
    with open_pipeline(pipeline, overrides) as opened:
        return _listed(opened, limit)


def _listed(opened: Opened, limit: int) -> Listed:
    found = opened.judged_queries
    first: list[JudgedQuery] = []
    counts = {"all": 0, "answerable": 0}

    def counted() -> Iterator[JudgedQuery]:
        for query in _askable(found, opened):
            counts["all"] += 1
            counts["answerable"] += query.answerable
            if not limit or len(first) < limit:
                first.append(query)
            yield query

    name = digest(counted())
    return Listed(
        opened.name, found.describe(), counts["all"], counts["answerable"], name,
        found.known_item, tuple(found.notes), first,
    )  # fmt: skip


@dataclass(frozen=True)
class Generation:
    """What a generation has come to, or would.

    Attributes:
        outline: What there was to ask.
        written: What was asked; None where only the outline was wanted.
    """

    model: str
    outline: Outline
    written: Written | None


def generate(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    announce: Callable[[str, Outline], None] = lambda model, outline: None,
    dry_run: bool = False,
    log: Callable[[str], None] = lambda line: None,
    limit: int = 0,
) -> Generation | Listed:
    """Have a model write the questions that are not written yet.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        announce: Told of the model and what is to be asked, before anything is.
        dry_run: Ask nothing.
        log: Takes lines of progress.
        limit: So many are given of those that are made of the documents; 0 for all.

    Returns:
        What was asked; where the queries are made of the documents, which costs nothing, those.

    Raises:
        EvaluationError: Nothing writes them, or it costs too much.
    """
    with open_pipeline(pipeline, overrides) as opened:
        chosen = opened.evaluation.queries
        if isinstance(chosen, GeneratedQueries):
            return _listed(opened, limit)
        if not isinstance(chosen, ByModelQueries):
            raise EvaluationError(
                f"the queries of {opened.name} are `{chosen.kind}`, which nothing writes: choose "
                "`queries: {by_model: {model: …}}`, or `generated`, which costs nothing"
            )
        writing = chosen.writing(opened.where)
        outline = writing.outline()
        announce(chosen.model, outline)
        written = None if dry_run else writing.write(outline, log)
        return Generation(chosen.model, outline, written)


def import_queries(
    pipeline: EmbeddingPipeline | str,
    file: str,
    overrides: Sequence[str | Path] = (),
    *,
    form: Readable | None = None,
    topics: str | None = None,
    ids: Ids = "as_written",
    replace: bool = False,
) -> tuple[Import, bool]:
    """Put the judged queries of a file into our collection, all of them or none.

    Args:
        pipeline: Itself or its name.
        file: A path or URL; of TREC's, the judgements.
        overrides: YAML run configs merged on top of the pipeline's own.
        form: Default: by the file's name.
        topics: The queries, where the file holds TREC's judgements.
        ids: See `resources.evaluation.ids`.
        replace: Whether another set that is there may be replaced.

    Returns:
        What was done, and whether the pipeline takes its queries from there.

    Raises:
        EvaluationError: The file cannot be used, or another set is there.
    """
    found = _reading(file, form, topics, ids)
    with open_pipeline(pipeline, overrides) as opened:
        where = opened.where
        queries = _Askable(found.open(where), opened)
        kept = ImportedSet(where.registry, opened.name)
        done = kept.replace(queries, file, replace=replace)
        return done, isinstance(opened.evaluation.queries, ImportedQueries)


def export_queries(
    pipeline: EmbeddingPipeline | str,
    file: Path,
    overrides: Sequence[str | Path] = (),
    *,
    form: Format | None = None,
) -> tuple[list[Path], int]:
    """Write a pipeline's judged queries to a file, of TREC's format to two.

    Args:
        pipeline: Itself or its name.
        file: Replaced if it is there.
        overrides: YAML run configs merged on top of the pipeline's own.
        form: Default: by the file's name.

    Returns:
        The files, and how many queries they hold.
    """
    named: dict[str, Format] = {".jsonl": "jsonl", ".csv": "csv"}
    chosen = form or named.get(file.suffix)
    if chosen is None:
        raise EvaluationError(f"{file}: say in which format, as `--format jsonl`, csv or trec")
    if not file.parent.is_dir():
        raise EvaluationError(f"there is no folder {file.parent}: make it, or name another")
    with open_pipeline(pipeline, overrides) as opened:
        return export(opened.judged_queries, file, chosen)


def _reading(
    file: str, form: Readable | None, topics: str | None, ids: Ids
) -> JsonlQueries | CsvQueries | ParquetQueries | TrecQueries:
    # `set.jsonl.gz` is read as well.
    suffix = next((each for each in reversed(Path(file).suffixes) if each in _BY_SUFFIX), "")
    chosen = form or ("trec" if topics else _BY_SUFFIX.get(suffix))
    path = _here(file)
    if chosen == "trec":
        if topics is None:
            raise EvaluationError(
                f"{file} holds judgements only: name the file of the queries with `--topics FILE`"
            )
        return TrecQueries(qrels=path, topics=_here(topics), ids=ids)
    if chosen is None:
        names = ", ".join(READABLE)
        raise EvaluationError(f"{file}: say in which format it is, as `--format jsonl`: {names}")
    kinds = {"jsonl": JsonlQueries, "csv": CsvQueries, "parquet": ParquetQueries}
    return kinds[chosen](path=path, ids=ids)


def _here(path: str) -> str:
    """As a shell means it: a relative path starts where the command is given."""
    return path if is_url(path) else str(Path(path).expanduser().absolute())


class _Askable(QuerySet):
    """The same queries, each with a filter that the index can answer."""

    def __init__(self, queries: QuerySet, opened: Opened) -> None:
        self._queries, self._opened = queries, opened

    def __iter__(self) -> Iterator[JudgedQuery]:
        return _askable(self._queries, self._opened)

    def describe(self) -> str:
        return self._queries.describe()


def _askable(queries: QuerySet, opened: Opened) -> Iterator[JudgedQuery]:
    for query in queries:
        if query.filter:
            try:
                validate(query.filter, opened.search_index.filter_fields)
            except QueryRefused as error:
                raise EvaluationError(
                    f"query {query.id!r} of {queries.describe()} cannot be asked: {error}"
                ) from error
        yield query
