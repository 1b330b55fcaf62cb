"""Compare a pipeline with what it might be, on one sample, without touching what it stores."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from assets.work.configured import RESOURCES
from assets.work.evaluating.candidates import BASELINE, Asked, Candidate
from assets.work.evaluating.comparing import Comparing
from assets.work.evaluating.figures import Changed, Compared, Row
from assets.work.evaluating.measuring import Measured
from assets.work.evaluating.sample import Sample
from assets.work.opened import Opened
from pipelines.framework.catalog import as_pipeline, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.framework.run_config import resource_values
from pipelines.operations.evaluation.changed import changed
from pipelines.operations.evaluation.trec import RunFiles
from resources.core.errors import ConfigurationError, EmbeddingsError, EvaluationError
from resources.core.moment import now
from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.files import CsvQueries, JsonlQueries, ParquetQueries
from resources.registry.evaluations import Evaluation, QuerySetFacts

Files = Sequence[str | Path]
_KINDS: Mapping[str, type[JsonlQueries | CsvQueries | ParquetQueries]] = {
    ".jsonl": JsonlQueries, ".ndjson": JsonlQueries, ".csv": CsvQueries, ".parquet": ParquetQueries,
}  # fmt: skip


def evaluate(
    pipeline: EmbeddingPipeline | str,
    candidates: Sequence[str | Path | Files] = (),
    *,
    asked: Asked | None = None,
    overrides: Files = (),
    queries: str | Path | None = None,
    export: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
    spending: Callable[[str], None] = lambda line: None,
) -> Compared:
    """Measure searches of a pipeline as it stands and of candidates, side by side on one sample.

    What its store holds and its index serves is not touched, and nothing is locked. Texts of the
    sample that have no vector yet are embedded and paid for, within every budget together; their
    batches stay, so that another evaluation, or a later run with that model, pays for none twice.

    Args:
        pipeline: Itself or its name.
        candidates: YAML run configs on top of the pipeline's own: a file for each candidate, or
            several files.
        asked: What of them is compared; by default all that they are set to.
        overrides: YAML run configs on top of the pipeline's own for every candidate.
        queries: A file of judged queries, in place of the pipeline's own.
        export: A folder for TREC's files: the judgements, and what each row found.
        log: Takes lines of progress.
        spending: Told what it is going to cost, before any of it is spent.

    Raises:
        EvaluationError: There are no queries to measure by, or no folder to export to.
        ConfigurationError: A candidate cannot be used, or all would cost more than is allowed.
        EmbeddingsError: What would stop a run as well.
    """
    asked, found = asked or Asked(), as_pipeline(pipeline)
    named = [(BASELINE, ()), *((_name(files), files) for files in map(_files, candidates))]
    with ExitStack() as stack:
        opened = [
            _opened(found, name, files, overrides, stack=stack, log=log) for name, files in named
        ]
        first = opened[0].o
        judged = _queries(first, queries)
        sample = stack.enter_context(Sample())
        comparing = Comparing(opened, asked, sample, log, spending)
        for candidate in opened:
            candidate.o.run = comparing.id
        files = RunFiles(Path(export), sample) if export is not None else None
        measured: list[Measured] = []

        def keep(row: Measured) -> None:
            measured.append(row)
            if files is not None:
                files.write(row)

        def hold(batches: Sequence[tuple[str, str]]) -> None:
            expires = now() + timedelta(days=asked.keep_days)
            first.registry.evaluations.hold(_id(comparing.id, 0), batches, expires)

        compared = comparing.run(judged, keep, hold)
        _record(first, compared)
        return dataclasses.replace(
            compared,
            runs=files.names if files is not None else (),
            worse=_worse(sample, opened, measured, asked.worse),
        )


def _opened(
    pipeline: EmbeddingPipeline,
    name: str,
    files: Files,
    overrides: Files,
    *,
    stack: ExitStack,
    log: Callable[[str], None],
) -> Candidate:
    try:
        o = stack.enter_context(open_pipeline(pipeline, [*overrides, *files], log=log))
        if name == BASELINE and not _asks(overrides):
            o = o.serving  # what people search, whatever the pipeline's own files ask for by now
        return Candidate(name, [str(file) for file in files], o)
    except EmbeddingsError as error:
        if not files:
            raise
        raise type(error)(f"candidate {name}: {error}") from error


def _asks(overrides: Files) -> bool:
    """Whether they choose how the pipeline as it stands is embedded."""
    return bool(resource_values(overrides, RESOURCES)["embedder"])


def _files(candidate: str | Path | Files) -> Files:
    return [candidate] if isinstance(candidate, str | Path) else candidate


def _name(files: Files) -> str:
    return "+".join(map(str, files))


def _queries(o: Opened, path: str | Path | None) -> QuerySet:
    if path is None:
        try:
            return o.judged_queries
        except EvaluationError as error:
            raise EvaluationError(f"{error}; or name a file with `--queries`") from error
    kind = _KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise ConfigurationError(
            f"{path} is no file of judged queries: its name ends in {', '.join(_KINDS)}"
        )
    return kind(path=str(Path(path).absolute())).open(o.where)


def _worse(
    sample: Sample, candidates: Sequence[Candidate], measured: Sequence[Measured], count: int
) -> Mapping[int, Sequence[Changed]]:
    """Of every row, the queries that it answers worse than the first."""
    if not count:
        return {}
    first, *others = measured
    ways = list(dict.fromkeys(each.text for each in candidates))
    way = ways.index(candidates[0].text)
    return {
        row.number: found
        for row in others
        if (found := changed(sample, first, row, way=way, count=count))
    }


def _id(evaluation: str, row: int) -> str:
    return f"{evaluation}-{row:02d}"


def _record(o: Opened, compared: Compared) -> None:
    """Note every row; the first holds the batches that they rest on, and has done so before."""
    o.registry.evaluations.prepare()
    facts = QuerySetFacts(
        compared.queries,
        compared.digest,
        answerable=compared.answerable,
        unanswerable=compared.unanswerable,
        not_in_store=compared.absent,
    )
    at = now()
    for number, row in enumerate(compared.rows):
        o.registry.evaluations.record(
            Evaluation(
                id=_id(compared.id, number),
                pipeline=compared.pipeline,
                kind="candidate",
                at=at,
                run=compared.id,
                space=row.space,
                model=_model(row),
                mode=row.mode,
                reranked=row.reranked,
                queries=facts,
                measures={name: dataclasses.asdict(each) for name, each in row.measures.items()},
                latency=_latency(row),
                bytes={"per_vector": row.bytes_per_vector, "whole": row.whole.bytes},
                state={"corpus": compared.sample},
                details={
                    "candidate": row.candidate,
                    "files": list(row.files),
                    "text": row.text,
                    "chunking": row.chunking,
                    "similarity": row.similarity,
                    "against": {
                        name: dataclasses.asdict(each) for name, each in row.against.items()
                    },
                    "whole": dataclasses.asdict(row.whole),
                    "sample": {
                        "documents": compared.documents,
                        "relevant": compared.relevant,
                        "chunks": row.chunks,
                        "without": row.without,
                    },
                    "corpus": compared.corpus,
                },
            )
        )


def _model(row: Row) -> dict[str, Any]:
    if row.mode == "text":
        return {}  # of words alone
    names = ("provider", "model", "dimensions", "stored_as")
    return {name: getattr(row, name) for name in names}


def _latency(row: Row) -> dict[str, float]:
    found: dict[str, float] = {}
    if row.latency.search:
        found["p50"], found["p95"] = row.latency.search
    if row.latency.embed:
        found["embed_p50"], found["embed_p95"] = row.latency.embed
    return found
