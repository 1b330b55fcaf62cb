"""Compare candidates on one sample: nothing that a pipeline stores or serves is touched."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from assets.work.evaluating.affording import afford
from assets.work.evaluating.asking import Questions
from assets.work.evaluating.candidates import Asked, Candidate
from assets.work.evaluating.figures import Compared, Row, Spending
from assets.work.evaluating.index import Rows
from assets.work.evaluating.landscape import landscape
from assets.work.evaluating.measuring import Measured, Measuring
from assets.work.evaluating.paying import pay
from assets.work.evaluating.pieces import Cutting, Pieces
from assets.work.evaluating.ready import check_filters, check_models, try_rerankers
from assets.work.evaluating.sample import Sample
from assets.work.evaluating.variants import Variant, check_formats
from assets.work.evaluating.vectors import SpaceWork, Vectors
from resources.batch_store.files import version_name
from resources.evaluation import measures
from resources.evaluation.judged import JudgedQuery, QuerySet, digest_of
from resources.evaluation.space import Landscape

FEW = 50
"""Judgements of fewer queries tell little."""


@dataclass
class Comparing:
    """The comparison, step by step.

    Args:
        candidates: The pipeline as it stands first.
        asked: What of them.
        sample: Empty.
        log: Takes lines of progress.
        spending: Told what it is going to cost, before any of it is spent.
        id: Of the evaluation.
        notes: What a person should know, as sentences.
    """

    candidates: Sequence[Candidate]
    asked: Asked
    sample: Sample
    log: Callable[[str], None]
    spending: Callable[[str], None] = lambda line: None
    id: str = field(default_factory=version_name)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = self.candidates[0]
        self.landscape: Landscape | None = None
        check_formats(self.asked.formats)
        for candidate in self.candidates[1:]:
            candidate.check_source(self.first)
        self.variants: dict[int, list[Variant]] = {}
        seen: set[object] = set()
        for number, candidate in enumerate(self.candidates):
            variants, notes = candidate.variants(self.asked)
            self.variants[number] = [
                each for each in variants if not _repeats(candidate, each, seen)
            ]
            self.notes += notes
            if not self.variants[number]:
                self.notes.append(
                    f"{candidate.name}: no row, since words alone find the same as before it"
                )

    def run(
        self,
        queries: QuerySet,
        keep: Callable[[Measured], object],
        hold: Callable[[list[tuple[str, str]]], object],
    ) -> Compared:
        """Measure all of it.

        Args:
            queries: Judged ones.
            keep: Takes each row as it is measured, while its rankings can be read.
            hold: Takes the batches that hold the vectors, space and name, before they are paid for.

        Raises:
            EvaluationError: The queries cannot be used, or measuring needs what is not installed.
            ConfigurationError: It would cost more than is allowed, and nothing is spent.
            EmbeddingsError: A provider fails for good; what was embedded until then is kept.
        """
        measures.per_query([], [])  # before anything is paid for: it may not be installed
        check_models(self.candidates, self.variants)
        self._draw(queries)
        check_filters(self.candidates, self.sample)
        cuttings, works, questions = self._prepared()
        limits = afford(
            self.candidates,
            self.variants,
            works.values(),
            questions.values(),
            self.sample,
            max_cost_usd=self.asked.max_cost_usd,
            said=self.spending,
        )
        hold([(space, name) for space, work in works.items() for name in work.batches])
        try_rerankers(self.candidates, self.variants)
        if any(work.estimate.texts for work in works.values()):
            self.first.o.registry.ledger.prepare()
        spent = pay(works.values(), questions.values(), limits, run=self.id, log=self.log)
        rows = list(self._measured(cuttings, works, questions, keep))
        return self._compared(queries, rows, spent, works)

    # --- the sample

    def _draw(self, queries: QuerySet) -> None:
        sample, first = self.sample, self.first

        def counted() -> Iterator[JudgedQuery]:
            for query in queries:
                self._digest += query.digest()
                yield query

        self._digest = 0
        sample.take(counted())
        self.ways = list(dict.fromkeys(each.text for each in self.candidates))
        carried = dict.fromkeys(name for each in self.candidates for name in each.carried)
        sample.draw(
            first.o.source,
            first.o.client if first.o.source.needs_mongodb else None,
            texts=self.ways,
            carry=_outermost(list(carried)),
            size=self.asked.size,
            log=self.log,
        )

    def _prepared(
        self,
    ) -> tuple[dict[str, Pieces], dict[str, SpaceWork], dict[tuple[str, str], Questions]]:
        cuttings: dict[str, Pieces] = {}
        for candidate in self.candidates:
            cutting = self._cutting(candidate)
            if cutting.name not in cuttings:
                cuttings[cutting.name] = Pieces(self.sample, len(cuttings), cutting)
        works: dict[str, SpaceWork] = {}
        questions: dict[tuple[str, str], Questions] = {}
        for number, candidate in enumerate(self.candidates):
            if not self._by_vector(number):
                continue
            space = candidate.space
            if space.id not in works:
                pieces = {
                    name: cuttings[name]
                    for at, each in enumerate(self.candidates)
                    if self._by_vector(at) and each.space.id == space.id
                    for name in [self._cutting(each).name]
                }
                works[space.id] = SpaceWork(candidate.o, self.sample, space, list(pieces.values()))
            if _asks(candidate) not in questions:
                questions[_asks(candidate)] = Questions(candidate.o, self.sample, space)
        return cuttings, works, questions

    def _cutting(self, candidate: Candidate) -> Cutting:
        return Cutting(self.ways.index(candidate.text), candidate.o.source.chunking)

    def _by_vector(self, number: int) -> bool:
        return any(each.mode != "text" for each in self.variants[number])

    # --- figures

    def _measured(
        self,
        cuttings: dict[str, Pieces],
        works: dict[str, SpaceWork],
        questions: dict[tuple[str, str], Questions],
        keep: Callable[[Measured], object],
    ) -> Iterator[Row]:
        first: Measured | None = None
        number = 0
        for at, candidate in enumerate(self.candidates):
            pieces = cuttings[self._cutting(candidate).name]
            ids, sources = pieces.ids()
            with ExitStack() as stack:
                work = works.get(candidate.space.id) if self._by_vector(at) else None
                vectors: Vectors | None = None
                places = np.full(pieces.rows, -1)
                if work is not None:
                    vectors = stack.enter_context(work.vectors())
                    places = work.places(pieces)
                rows = Rows(
                    pieces,
                    ids,
                    sources,
                    places,
                    candidate.o.search_index.filter_fields,
                    candidate.words,
                    candidate.o.vector_store.in_place,
                )
                measuring = Measuring(
                    candidate, self.sample, rows, vectors, work, questions.get(_asks(candidate)),
                    self.log,
                )  # fmt: skip
                for variant in self.variants[at]:
                    found = measuring.measure(number, variant, first)
                    if self.asked.landscape and vectors is not None and self.landscape is None:
                        asked = questions.get(_asks(candidate))
                        self.landscape = asked and landscape(
                            candidate, self.sample, rows, vectors, asked, found
                        )
                    first = first or found
                    keep(found)
                    number += 1
                    yield found.row

    def _compared(
        self, queries: QuerySet, rows: list[Row], spent: Spending, works: dict[str, SpaceWork]
    ) -> Compared:
        sample, drawn, corpus = self.sample, self.sample.drawn, self.sample.corpus
        answerable = sample.count("queries WHERE answerable")
        notes = [*queries.notes, *self.notes]
        if answerable < FEW:
            notes.append(
                f"{answerable:,} queries are few: differences must be large to be more than chance"
            )
        if drawn.absent:
            named = ", ".join(drawn.absent_ids)
            more = " …" if drawn.absent > len(drawn.absent_ids) else ""
            notes.append(
                f"{drawn.absent:,} documents that are judged relevant are not in the source "
                f"({named}{more}): every candidate misses them"
            )
        for work in works.values():
            if work.refused_texts.count:
                name, why = work.refused_texts.first[0]
                notes.append(
                    f"{work.o.embedder.facts().model} makes no vector of "
                    f"{work.refused_texts.count:,} texts, such as one of {name} ({why}): a search "
                    "by vector misses them"
                )
        return Compared(
            id=self.id,
            pipeline=self.first.o.name,
            queries=queries.describe(),
            digest=digest_of(self._digest),
            known_item=queries.known_item,
            answerable=answerable,
            unanswerable=sample.count("queries") - answerable,
            sample=sample.digest(),
            documents=drawn.documents,
            relevant=drawn.relevant,
            corpus=corpus.documents,
            rejected=corpus.rejected,
            absent=drawn.absent,
            absent_ids=drawn.absent_ids,
            rows=rows,
            spent=spent,
            notes=notes,
            landscape=self.landscape,
        )


def _asks(candidate: Candidate) -> tuple[str, str]:
    return candidate.space.id, candidate.o.embedder.query_settings()


def _repeats(candidate: Candidate, variant: Variant, seen: set[object]) -> bool:
    """Whether an earlier candidate has the same row: of words alone, whatever the model."""
    o = candidate.o
    if variant.mode != "text" or variant.reranked:
        return False
    name = (candidate.text, o.source.chunking.describe(), repr(candidate.words))
    if name in seen:
        return True
    seen.add(name)
    return False


def _outermost(paths: Sequence[str]) -> list[str]:
    """Without those inside of others."""
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]
