"""One question to two spaces of a pipeline: what each finds, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.search import SearchAnswer, Searcher, SearchHit, open_searcher
from resources.core.errors import QueryRefused
from resources.core.keys import key

OVERLAP = 10


@dataclass(frozen=True)
class Side:
    """One of the two spaces.

    Attributes:
        state: `serving`, `previous`, `ready` or `building`.
        seconds: From the question to the answer, with its model loaded.
        notes: What a person should know about its answer, as sentences.
    """

    space: str
    state: str
    model: str
    engine: str
    seconds: float
    notes: Sequence[str]


@dataclass(frozen=True)
class Row:
    """A source document that one of them finds, or both.

    Attributes:
        ranks: In each, from 1; None where it does not find it among as many.
        scores: Likewise; those of two spaces do not compare.
    """

    source_id: Any
    text: str
    ranks: tuple[int | None, int | None]
    scores: tuple[float | None, float | None]


@dataclass(frozen=True)
class Comparison:
    """Two rankings of source documents.

    Attributes:
        limit: So many of each were looked at.
        rows: The best place that a document has in either counts.
        overlap: Share of the ten nearest that both find; of fewer where there are fewer.
        kendall_tau: How alike the order is of what both find, -1 to 1; None for fewer than two.
        both: Documents that both find among `limit`.
    """

    pipeline: str
    query: str
    limit: int
    a: Side
    b: Side
    rows: Sequence[Row]
    overlap: float
    kendall_tau: float | None
    both: int

    @property
    def only(self) -> tuple[int, int]:
        """Documents that only the one finds, and only the other."""
        found = [sum(row.ranks[side] is not None for row in self.rows) for side in (0, 1)]
        return found[0] - self.both, found[1] - self.both


def compare(
    pipeline: EmbeddingPipeline | str,
    query: str,
    a: str | None = None,
    b: str | None = None,
    *,
    limit: int = OVERLAP,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
    overrides: Sequence[str | Path] = (),
) -> Comparison:
    """Ask two spaces, and put what they find side by side.

    Args:
        pipeline: Itself or its name.
        query: A text, embedded in each of the spaces.
        a: Id of the first space, or how it begins; None: the one that serves.
        b: Of the second; None: the newest other one.
        limit: So many source documents of each.
        filter: MQL over the index's filter fields.
        overrides: YAML run configs merged on top of the pipeline's own.

    Raises:
        QueryRefused: There are no two such spaces, or one of them cannot be asked.
        EmbeddingsError: No server, no key.
    """
    with open_searcher(pipeline, overrides, follow=False) as searcher:
        spaces = {each.id: each for each in searcher.spaces()}
        one = a if a is None else _named(searcher, a)
        other = b if b is None else _named(searcher, b)
        one = one or next((name for name in spaces if name != other), None)
        other = other or next((name for name in spaces if name != one), None)
        if one is None or other is None:
            raise QueryRefused(
                f"{searcher.name} has {len(spaces) or 'no'} space{'s' * (not spaces)}, and two are "
                "compared: a run whose embedder is another one builds another space"
            )
        if one == other:
            raise QueryRefused(f"both are the space {one}: name another one to compare it with")
        answers = [_asked(searcher, query, each, limit, filter) for each in (one, other)]
    sides = [
        Side(
            each.space.id,
            spaces[each.space.id].state,
            each.space.model,
            each.engine,
            each.seconds,
            each.notes,
        )
        for each in answers
    ]
    return _compared(searcher.name, query, limit, sides, answers)


def _named(searcher: Searcher, space: str) -> str:
    return searcher.serving(space).space.id


def _asked(
    searcher: Searcher, query: str, space: str, limit: int, clause: Mapping[str, Any] | None
) -> SearchAnswer:
    searcher.prepare(space)
    return searcher.search(
        query, space=space, limit=max(limit, OVERLAP), filter=clause, group_by_source=True
    )


def _compared(
    pipeline: str, query: str, limit: int, sides: Sequence[Side], answers: Sequence[SearchAnswer]
) -> Comparison:
    places = [
        {key(hit.source_id): (rank, hit) for rank, hit in enumerate(answer.hits, 1)}
        for answer in answers
    ]
    nearest = [{name for name, (rank, _) in each.items() if rank <= OVERLAP} for each in places]
    most = max(map(len, nearest))
    shown = [{name: found for name, found in each.items() if found[0] <= limit} for each in places]
    rows = [_row(name, shown) for name in {**shown[0], **shown[1]}]
    rows.sort(key=lambda row: (min(filter(None, row.ranks)), row.ranks[0] or limit + 1))
    shared = [row.ranks for row in rows if None not in row.ranks]
    return Comparison(
        pipeline,
        query,
        limit,
        sides[0],
        sides[1],
        rows,
        len(nearest[0] & nearest[1]) / most if most else 1.0,
        _kendall(shared),
        len(shared),
    )


def _row(name: str, shown: Sequence[Mapping[str, tuple[int, SearchHit]]]) -> Row:
    (rank_a, hit_a), (rank_b, hit_b) = (each.get(name, (None, None)) for each in shown)
    hit = hit_a or hit_b
    assert hit is not None
    scores = hit_a.score if hit_a else None, hit_b.score if hit_b else None
    return Row(hit.source_id, hit.text or "", (rank_a, rank_b), scores)


def _kendall(ranks: Sequence[tuple[int | None, int | None]]) -> float | None:
    from scipy.stats import kendalltau

    if len(ranks) < 2:
        return None
    found: Any = kendalltau([a for a, _ in ranks], [b for _, b in ranks])
    return float(found.statistic)
