"""The figures of one candidate, variant by variant."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from assets.work.evaluating.asking import Questions, ask
from assets.work.evaluating.candidates import Candidate
from assets.work.evaluating.figures import Latency, Row, Whole
from assets.work.evaluating.index import Rows, Served, scaled
from assets.work.evaluating.sample import Sample
from assets.work.evaluating.variants import Variant
from assets.work.evaluating.vectors import SpaceWork, Vectors
from resources.batch_store.evaluations import WINDOW
from resources.core.keys import decode, encode
from resources.core.progress import Progress
from resources.core.vectors import int8_scale
from resources.evaluation import measures
from resources.evaluation.rankings import Ranking
from resources.models.cutting import cut

TIMED_TEXTS = 50
"""The rate of fewer texts says little."""
_ROWS = 4_096


@dataclass(frozen=True)
class Measured:
    """A row, with what each query found.

    Attributes:
        number: Of the row, from 0.
        values: Each measure of each answerable query, in their order, by name.
    """

    number: int
    row: Row
    values: dict[str, np.ndarray]
    _sample: Sample

    def rankings(self) -> Iterator[Ranking]:
        """Of the answerable queries, in their order."""
        last = -1
        while page := self._sample.db.execute(
            "SELECT seq, query, found FROM rankings WHERE row = ? AND seq > ? ORDER BY seq LIMIT ?",
            (self.number, last, WINDOW),
        ).fetchall():
            last = page[-1][0]
            for _, query, found in page:
                ids, scores = decode(found)
                yield Ranking(query, ids, scores)


class Measuring:
    """All variants of one candidate, over the same vectors.

    Args:
        candidate: Whose.
        sample: That all candidates see.
        rows: What of it the candidate can find.
        vectors: Theirs; None where only words count.
        work: That made them.
        questions: The queries' vectors.
        log: Takes lines of progress.
    """

    def __init__(
        self,
        candidate: Candidate,
        sample: Sample,
        rows: Rows,
        vectors: Vectors | None,
        work: SpaceWork | None,
        questions: Questions | None,
        log: Callable[[str], None],
    ) -> None:
        self._candidate, self._sample, self._rows = candidate, sample, rows
        self._vectors, self._work, self._questions, self._log = vectors, work, questions, log
        self._scales: dict[int, float] = {}
        sample.db.execute(
            "CREATE TABLE IF NOT EXISTS rankings "
            "(row INTEGER, seq INTEGER, query TEXT, found TEXT, PRIMARY KEY (row, seq))"
        )

    def measure(self, number: int, variant: Variant, first: Measured | None) -> Measured:
        """The figures of one variant, against the first row's.

        Raises:
            EvaluationError: A query cannot be asked.
            EmbeddingsError: The reranker fails.
        """
        candidate, sample = self._candidate, self._sample
        if variant.format is not None and variant.format.needs_scale:
            scale = self._scale(variant)
            variant = dataclasses.replace(variant, format=scaled(variant.format, scale))
        served = Served(self._rows, self._vectors, candidate.space, variant)
        reranking = candidate.reranking if variant.reranked else None
        seconds: list[float] = []
        values: dict[str, list[np.ndarray]] = {name: [] for name in measures.MEASURES}
        total = sample.count("queries WHERE answerable")
        progress = Progress(self._log, f"queries asked of {candidate.name}", total)
        seq = 0
        for window in sample.queries(WINDOW):
            by_vector = variant.mode != "text" and self._questions is not None
            vectors = self._questions.vectors(window) if by_vector and self._questions else []
            found = ask(
                served, variant, window, vectors or [None] * len(window), reranking, seconds
            )
            for name, each in measures.per_query(window, found).items():
                values[name].append(each)
            sample.db.executemany(
                "INSERT INTO rankings VALUES (?, ?, ?, ?)",
                (
                    (number, seq + at, each.query, encode([list(each.ids), list(each.scores)]))
                    for at, each in enumerate(found)
                ),
            )
            seq += len(window)
            progress.advance(len(window))
        progress.finish()
        joined = {name: np.concatenate(each) for name, each in values.items()}
        against = {}
        if first is not None:
            against = {
                name: measures.difference(first.values[name], each) for name, each in joined.items()
            }
        row = self._row(variant, joined, against, seconds)
        return Measured(number, row, joined, sample)

    def _row(self, variant: Variant, values: dict, against: dict, seconds: list[float]) -> Row:
        candidate, rows = self._candidate, self._rows
        o, space, facts = candidate.o, candidate.space, candidate.planned
        size = variant.bytes_per_vector
        without = rows.pieces.rows
        if self._vectors is not None and variant.mode != "text":
            places = rows.places
            without = int(np.count_nonzero(places < 0))
            without += int(np.count_nonzero(~self._vectors.made[places[places >= 0]]))
        elif variant.mode == "text":
            without = 0
        embed = self._questions.seconds if self._questions and variant.mode != "text" else []
        notes = []
        if variant.mode != "vector" and o.search_index.text is None:
            notes.append("the pipeline searches no words yet: add `text: {}` to `search_index`")
        if variant.mode != "text" and self._questions and self._questions.refused:
            refused = self._questions.refused
            query, why = next(iter(refused.items()))
            notes.append(
                f"{len(refused):,} queries have no vector, such as {query} ({why}): they find "
                "nothing"
            )
        if o.search_index.quantization != "none" and variant.format is not None:
            notes.append(
                f"what `quantization: {o.search_index.quantization}` of the server loses is not "
                "in these figures"
            )
        return Row(
            candidate=candidate.name,
            files=candidate.files,
            provider=space.provider if variant.mode != "text" else "",
            model=facts.model if variant.mode != "text" else "",
            space=space.id if variant.mode != "text" else "",
            dimensions=variant.dimensions,
            stored_as=variant.stored_as,
            similarity=variant.similarity if variant.format else "",
            mode=variant.mode,
            reranked=str(candidate.reranker.facts().model) if variant.reranked else None,
            text=o.source.text,
            chunking=o.source.chunking.describe() or "none",
            measures={name: measures.interval(each) for name, each in values.items()},
            against=against,
            latency=Latency(_quantiles(embed), _quantiles(seconds)),
            whole=self._whole(variant, size),
            bytes_per_vector=size,
            chunks=rows.pieces.rows,
            without=without,
            notes=notes,
        )

    def _whole(self, variant: Variant, size: int) -> Whole:
        """What the whole source would take, from nothing."""
        candidate, pieces = self._candidate, self._rows.pieces
        way, corpus = pieces.cutting.way, self._sample.corpus
        characters = corpus.characters[way]
        share = characters / max(1, pieces.characters)
        chunks = corpus.texts[way] if pieces.one_chunk_each else round(pieces.rows * share)
        if variant.mode == "text":
            return Whole(chunks, 0, 0.0, 0.0, 0)
        tokens = round(self._tokens() * share)
        rate = self._rate()
        return Whole(
            chunks,
            tokens,
            candidate.planned.cost_usd(tokens),
            chunks / rate if rate else None,
            chunks * size,
        )

    def _tokens(self) -> float:
        """Of the sample's chunks: as billed where that is known of them, else as estimated."""
        pieces, vectors = self._rows.pieces, self._vectors
        if vectors is None:
            return pieces.tokens
        places = self._rows.places
        known = vectors.tokens[places[places >= 0]]
        known = known[known >= 0]
        if not len(known):
            return pieces.tokens
        return float(known.sum()) * pieces.rows / len(known)

    def _rate(self) -> float | None:
        """Texts a second: of this evaluation, else of the latest run."""
        made = self._work.spent if self._work else None
        if made is not None and made.embedded >= TIMED_TEXTS and made.seconds > 0:
            return made.embedded / made.seconds
        o, space = self._candidate.o, self._candidate.space
        return o.registry.ledger.texts_per_second(space.provider, self._candidate.planned.model)

    def _scale(self, variant: Variant) -> float:
        """The space's own for its whole width, where a run has fixed it; else the sample's."""
        space, vectors = self._candidate.space, self._vectors
        assert vectors is not None
        width = variant.dimensions
        if width not in self._scales:
            fixed = None
            if width == space.dimensions:
                fixed = self._candidate.o.registry.spaces.int8_scale(space.id)
            self._scales[width] = fixed or min(
                (
                    int8_scale(cut(np.asarray(vectors.values[part]), space, width))
                    for part in _parts(np.flatnonzero(vectors.made))
                ),
                default=1.0,
            )
        return self._scales[width]


def _parts(rows: np.ndarray) -> Sequence[np.ndarray]:
    return np.array_split(rows, max(1, math.ceil(len(rows) / _ROWS))) if len(rows) else []


def _quantiles(seconds: Sequence[float]) -> tuple[float, float] | None:
    if not seconds:
        return None
    low, high = np.quantile(seconds, [0.5, 0.95])
    return float(low), float(high)
