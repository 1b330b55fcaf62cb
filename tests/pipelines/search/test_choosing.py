"""Of what an index finds: one chunk a document, unlike ones, a floor, the text around."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.work.searching.passages import joined
from assets.work.searching.ranking import Best, diverse
from pipelines.operations.search import Searcher, open_searcher
from resources.core.keys import key
from resources.search_index.query import Hit
from tests.workshop import Workshop

PARAGRAPHS = 12
both = pytest.mark.parametrize("engine", ["local", "mongodb"], indirect=True)


def essay(name: str) -> str:
    return "\n\n".join(
        f"The {name} has paragraph {n}, which tells of matter {n} and no other." + " more" * n
        for n in range(PARAGRAPHS)
    )


@pytest.fixture
def essays(films: Workshop) -> Workshop:
    films.configure({"source": {"chunking": {"recursive": {"size": 120, "overlap": 30}}}})
    films.write([{"_id": name, "text": essay(name)} for name in ("cat", "dog", "owl")])
    assert films.run().success
    return films


def sources(answer: Any) -> list[Any]:
    return [hit.source_id for hit in answer.hits]


@both
def test_one_chunk_of_each_document(essays: Workshop):
    with open_searcher(essays.pipeline) as searcher:
        every = searcher.search("the cat", limit=100)
        grouped = searcher.search("the cat", limit=3, group_by_source=True)
        assert sorted(sources(grouped)) == ["cat", "dog", "owl"]
        for hit in grouped.hits:
            best = next(other for other in every.hits if other.source_id == hit.source_id)
            assert (hit.id, hit.score) == (best.id, best.score)
        # However many chunks of one document are nearer than the first of another.
        exact = searcher.search("the cat", limit=3, group_by_source=True, exact=True)
        assert sources(exact) == sources(grouped)
        assert sum(hit.others for hit in exact.hits) + 3 <= len(every.hits)
        assert len(searcher.search("the cat", limit=50, group_by_source=True).hits) == 3


@both
def test_the_text_around_is_a_piece_of_the_document(essays: Workshop):
    with open_searcher(essays.pipeline) as searcher:
        for hit in searcher.search("paragraph 5 of the owl", limit=6, expand=2).hits:
            squeezed = "".join(essay(hit.source_id).split())
            assert hit.context is not None
            assert "".join(hit.context.split()) in squeezed, "each word stands there once"
            assert len(hit.context) > len(hit.text or "")
        alone = searcher.search("paragraph 5", limit=1).hits[0]
        assert alone.context is None


def test_a_whole_document_has_nothing_around(films: Workshop):
    films.run()
    with open_searcher(films.pipeline) as searcher:
        assert {hit.context for hit in searcher.search("film", expand=1).hits} == {None}


@given(
    text=st.text(alphabet="abc \n", min_size=1, max_size=60),
    cuts=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 30)), min_size=1, max_size=6),
)
def test_joined_chunks_hold_every_character_once(text: str, cuts: list[tuple[int, int]]):
    """Of chunks as a chunker makes them: in order, with overlaps, white space stripped."""
    spans = sorted({(start, min(start + size, len(text))) for start, size in cuts})
    spans = [(start, end) for start, end in spans if text[start:end].strip() == text[start:end]]
    spans = [(start, end) for start, end in spans if end > start]
    # A gap between two chunks is white space.
    if any(text[one[1] : two[0]].strip() for one, two in pairwise(spans)):
        return
    pieces = [({"start": start, "end": end}, text[start:end]) for start, end in spans]
    whole = joined(pieces)
    covered = "".join(
        text[min((s for s, _ in spans), default=0) : max((e for _, e in spans), default=0)].split()
    )
    assert "".join(whole.split()) == covered


@both
def test_a_floor_leaves_out_what_scores_less(films: Workshop):
    films.run()
    with open_searcher(films.pipeline) as searcher:
        every = searcher.search("the song number 5", limit=30)
        floor = every.hits[9].score
        above = searcher.search("the song number 5", limit=30, min_score=floor)
        assert [hit.id for hit in above.hits] == [
            hit.id for hit in every.hits if hit.score >= floor
        ]
        assert not searcher.search("the song", min_score=2.0).hits


def diversities(searcher: Searcher, diversity: float) -> list[str]:
    hits = searcher.search("the film", limit=9, diversity=diversity).hits
    return [hit.fields["kind"] for hit in hits]


@both
def test_unlike_hits_come_first(films: Workshop):
    films.write(
        [{"_id": f"film {n}", "text": "the film", "kind": "film"} for n in range(20)]
        + [{"_id": f"{name}", "text": f"the {name}", "kind": name} for name in ("play", "song")]
    )
    films.run()
    with open_searcher(films.pipeline) as searcher:
        assert set(diversities(searcher, 0.0)) == {"film"}
        chosen = diversities(searcher, 0.9)
        assert chosen[0] == "film"
        assert {"play", "song"} < set(chosen)


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    seed=st.integers(0, 100),
    limit=st.integers(1, 15),
)
def test_diversity_chooses_each_once_and_the_best_first(scores: list[float], seed: int, limit: int):
    drawn = np.random.default_rng(seed)
    found = [Best(Hit(n, score)) for n, score in enumerate(sorted(scores, reverse=True))]
    vectors = {key(n): drawn.standard_normal(4).astype(np.float32) for n in range(len(found))}
    plain = diverse(found, vectors, 0.0, limit)
    assert [best.hit.score for best in plain] == [best.hit.score for best in found[:limit]]
    chosen = diverse(found, vectors, 0.5, limit)
    assert len({best.hit.id for best in chosen}) == min(limit, len(found))
    assert chosen[0] == found[0]
