"""Ask a pipeline's judged queries: one evaluation, window by window."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from assets.work.opened import Opened
from assets.work.quality.overlaps import QUERIES, overlaps
from assets.work.quality.relevant import Absent, check_ids, relevant
from assets.work.quality.segments import Segments
from assets.work.quality.state import Contents, state_name
from assets.work.quality.timing import latency
from assets.work.quality.vectors import query_vectors
from assets.work.searching import Question, Searcher
from assets.work.searching.rankings import DEPTH
from resources.batch_store.evaluations import WINDOW, Found
from resources.core.errors import EvaluationError, QueryRefused
from resources.core.moment import now
from resources.core.progress import Progress, doing
from resources.core.windows import windows
from resources.evaluation.judged import JudgedQuery, QuerySet, digest_of
from resources.evaluation.measures import MEASURES, interval, per_query
from resources.evaluation.rankings import Ranking
from resources.registry.evaluations import Evaluation, Kind, QuerySetFacts


class Measuring:
    """One evaluation.

    Args:
        o: The pipeline.
        searcher: That answers.
        queries: The set.
        contents: What it holds.
        state: All that the figures go by.
        kind: Of the evaluation.
    """

    def __init__(
        self,
        o: Opened,
        searcher: Searcher,
        queries: QuerySet,
        contents: Contents,
        state: Mapping[str, Any],
        kind: Kind = "search_quality",
    ) -> None:
        self._o, self._searcher, self._queries = o, searcher, queries
        self._contents, self._state = contents, state
        self._kind: Kind = kind
        self._id = self._begun()
        self._places = {name: o.store.place(name) for name in o.evaluation.segments}
        self._segments, self._absent = Segments(self._places), Absent()
        self._values: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
        self._of_stored: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
        self._best: dict[bool, list[float]] = {True: [], False: []}
        self._some: list[Question] = []
        self._notes: Counter[str] = Counter()
        self._asked = 0
        self._rows = 0
        self._digest = 0

    def _begun(self) -> str:
        """The id: of one that was interrupted, so that it goes on, or a new one."""
        name = state_name(dict(self._state))
        for begun in reversed(self._o.batches.rankings.kept(self._o.name)):
            if begun.endswith(f"-{name}") and self._o.registry.evaluations.get(begun) is None:
                self._o.log(f"going on with evaluation {begun}")
                return begun
        return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{name}"

    def forget(self) -> None:
        """What was found is of no state that there ever was."""
        self._o.batches.rankings.remove(self._o.name, self._id)

    def evaluation(self) -> Evaluation | None:
        """None: the set no longer holds what it held."""
        o, contents = self._o, self._contents
        check_ids(o, contents.first_ids, self._queries.describe())
        progress = Progress(o.log, "judged queries asked", contents.queries)
        for number, window in enumerate(windows(self._queries, WINDOW)):
            self._add(number, window)
            progress.advance(len(window))
        progress.finish()
        if digest_of(self._digest) != contents.digest:
            return None
        values = {name: np.concatenate(each) for name, each in self._values.items()}
        of_stored = {name: np.concatenate(each) for name, each in self._of_stored.items()}
        with doing("comparing with exact search, formats and widths", patient=True):
            found = overlaps(o, self._searcher, self._some)
        with doing("timing single searches", patient=True):
            seconds = latency(o, self._searcher, self._some) if self._some else {}
        measures = _intervals(values)
        return Evaluation(
            id=self._id,
            pipeline=o.name,
            kind=self._kind,
            at=now(),
            run=o.run,
            space=o.space.id,
            model={
                "provider": o.space.provider,
                "model": o.embedder.facts().model,
                "dimensions": o.space.dimensions,
                "stored_as": o.store.format.values,
            },
            mode=o.evaluation.mode,
            reranked=self._reranker(),
            queries=QuerySetFacts(
                self._queries.describe(),
                contents.digest,
                contents.answerable,
                contents.queries - contents.answerable,
                self._absent.not_in_store,
                self._absent.in_quarantine,
            ),
            measures=measures,
            measures_of_stored=_intervals(of_stored) if self._absent.queries else measures,
            latency=seconds,
            bytes=found.bytes,
            state=self._state,
            details={
                "segments": self._segments.table(values),
                "overlap@10 with exact": found.exact,
                "formats": list(found.formats),
                "dimensions": list(found.dimensions),
                "sampled": found.sampled,
                "absent": self._absent.first,
                "queries lacking one": self._absent.queries,
                "best score, answerable": _median(self._best[True]),
                "best score, without answer": _median(self._best[False]),
                "notes": self._said(),
                "known_item": self._queries.known_item,
            },
        )

    # --- a window of queries

    def _add(self, number: int, window: Sequence[JudgedQuery]) -> None:
        o, rankings = self._o, self._o.batches.rankings
        kept = rankings.window(o.name, self._id, number)
        known = kept is not None and [row.query for row in kept] == [each.id for each in window]
        vectors = {} if known and len(self._some) >= QUERIES else self._vectors(window)
        found = kept if known and kept is not None else self._found(window, vectors)
        ranked = [Ranking(row.query, row.ids, row.scores) for row in found]
        values = per_query(window, ranked)
        there = relevant(o, window, list(self._places.values()))
        there.note_absent(window, self._absent)
        self._digest += sum(query.digest() for query in window)
        lacking = [there.of_stored(query) for query in window]
        whole = all(mine is query for mine, query in zip(lacking, window, strict=True))
        left = values if whole else per_query(lacking, ranked)
        for name in MEASURES:
            self._values[name].append(values[name])
            self._of_stored[name].append(left[name])
        for query, row in zip(window, found, strict=True):
            if query.answerable:
                self._segments.add(self._rows, query, there.first(query))
                self._rows += 1
            if row.scores:
                self._best[query.answerable].append(float(row.scores[0]))
            if row.note:
                self._notes[row.note] += 1
        self._choose(window, vectors)
        if not known:
            columns = {name: _spread(window, values[name]) for name in MEASURES}
            rankings.write(o.name, self._id, number, found, columns)

    def _vectors(self, window: Sequence[JudgedQuery]) -> dict[str, np.ndarray | str]:
        o = self._o
        if o.evaluation.mode == "text":
            return {}
        return query_vectors(
            [query.text for query in window],
            kept=o.batches.queries,
            space=o.space,
            settings=o.embedder.query_settings(),
            embed=self._searcher.query_window,
        )

    def _found(
        self, window: Sequence[JudgedQuery], vectors: Mapping[str, np.ndarray | str]
    ) -> list[Found]:
        by_words = self._o.evaluation.mode == "text"
        able = [each for each in window if by_words or not isinstance(vectors[each.text], str)]
        questions = [_question(query, vectors) for query in able]
        try:
            answers = self._searcher.rankings(
                questions, mode=self._o.evaluation.mode, rerank=self._o.evaluation.rerank
            )
        except QueryRefused as error:
            raise EvaluationError(f"{self._queries.describe()}: {error}") from error
        of = {query.id: answer for query, answer in zip(able, answers, strict=True)}
        found = []
        for query in window:
            if query.id not in of:
                why = f"a query has no vector, so that it finds nothing: it {vectors[query.text]}"
                found.append(Found(query.id, [], [], why))
                continue
            answer = of[query.id]
            ranking = Ranking.of(query.id, answer.hits)
            found.append(Found(query.id, ranking.ids, ranking.scores, next(iter(answer.notes), "")))
        return found

    def _choose(
        self, window: Sequence[JudgedQuery], vectors: Mapping[str, np.ndarray | str]
    ) -> None:
        """Some queries, evenly spread over the set."""
        step = max(1, self._contents.queries // QUERIES)
        for query in window:
            wanted = self._asked % step == 0 and len(self._some) < QUERIES
            self._asked += 1
            if wanted and not isinstance(vectors.get(query.text), str):
                self._some.append(_question(query, vectors))

    # --- what is said

    def _reranker(self) -> str | None:
        o = self._o
        return str(o.reranker.facts()) if o.evaluation.rerank and o.reranker.chosen else None

    def _said(self) -> list[str]:
        said = list(self._queries.notes)
        o = self._o
        if self._reranker() and o.reranker.candidates < DEPTH:
            said.append(
                f"recall@{DEPTH} is of {o.reranker.candidates} documents at most: a search hands "
                f"its reranker so many and finds no other (`rerank: {{candidates: {DEPTH}}}` would "
                "tell it in full)"
            )
        for note, count in self._notes.most_common(5):
            said.append(f"of {count:,} {'query' if count == 1 else 'queries'}: {note}")
        return said


def _question(query: JudgedQuery, vectors: Mapping[str, np.ndarray | str]) -> Question:
    vector = vectors.get(query.text)
    return Question(query.text, None if isinstance(vector, str) else vector, query.filter)


def _intervals(values: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of those that there are any of: all queries may lack all their documents."""
    return {name: vars(interval(each)) for name, each in values.items() if len(each)}


def _spread(window: Sequence[JudgedQuery], values: np.ndarray) -> list[float | None]:
    """A measure of each query of a window; None for those that it is not of."""
    left = iter(values.tolist())
    return [next(left) if query.answerable else None for query in window]


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
