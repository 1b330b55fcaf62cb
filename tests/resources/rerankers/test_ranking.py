"""What holds of every reranker, whatever its model says."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resources.core.errors import ConfigurationError, ProviderError, QueryRefused
from resources.rerankers.base import Candidate, Ranking, Scored, TextReranker
from resources.rerankers.facts import Facts
from resources.rerankers.provider import NoReranking
from resources.rerankers.resource import RerankResource

TEXTS = st.none() | st.text(max_size=5) | st.sampled_from(["moth", "fern", "\ud800", " \n"])
SCORES = st.none() | st.floats() | st.sampled_from([0.5, 0.0, -0.0])


class Says(TextReranker):
    """Gives the scores that it was made with, to the texts in their order."""

    def __init__(self, scores: Sequence[float | None], refused: dict[int, str] | None = None):
        super().__init__(Facts("acme", "m-1", 2.0))
        self._scores, self._refused = scores, refused or {}
        self.asked: list[str | None] = []

    def score(self, query: str, candidates: Sequence[Candidate]) -> Scored:
        self.asked = [candidate.text for candidate in candidates]
        return Scored(self._scores, 7, self._refused)


def readable(text: str | None) -> bool:
    return bool(text and text.strip())


@given(st.lists(TEXTS, max_size=8), st.data())
def test_every_candidate_has_one_place(texts: list[str | None], data: st.DataObject):
    count = sum(map(readable, texts))
    scores = data.draw(st.lists(SCORES, min_size=count, max_size=count))
    assume(not count or any(score is not None and math.isfinite(score) for score in scores))
    reranker = Says(scores)
    ranking = reranker.rerank("a query", texts)
    order = ranking.order()
    assert sorted(order) == list(range(len(texts)))
    for text in reranker.asked:
        assert text is not None
        text.encode()  # whatever came, an encoder takes it
    assert len(reranker.asked) == count
    given_ = iter(scores)
    for text, score in zip(texts, ranking.scores, strict=True):
        said = next(given_) if readable(text) else None
        assert score == (said if said is not None and math.isfinite(said) else None)
    if ranking.flat:
        assert order == list(range(len(texts)))
        assert len({score for score in ranking.scores if score is not None}) <= 2
    else:
        places = [(ranking.scores[at], at) for at in order]
        for (one, at), (other, behind) in itertools.pairwise(places):
            if one is None:
                assert other is None
            assert other is None or one is not None
            if one == other:
                assert at < behind
            elif one is not None and other is not None:
                assert one > other


def test_the_order_is_stable_and_those_without_a_score_stand_last():
    ranking = Ranking((0.2, None, 0.9, 0.2, None, 0.95))
    assert ranking.order() == [5, 2, 0, 3, 1, 4]


@pytest.mark.parametrize(
    ("scores", "texts", "flat"),
    [
        ([0.5987] * 3, ["a", "b", "c"], True),
        ([0.59870, 0.59870004, 0.59869997], ["a", "b", "c"], True),  # float32's last digits
        ([0.5987, 0.5988, 0.5987], ["a", "b", "c"], False),
        ([0.5987] * 3, ["a", "a", "a"], False),  # of one text it is right
        ([0.0, 0.0], ["a", "b"], True),
        ([0.7], ["a"], False),
        ([1e-9, 3e-9], ["a", "b"], False),  # hopeless texts differ too
        ([0.4, math.nan, 0.4], ["a", "b", "c"], True),
        ([0.4, None, None], ["a", "b", "c"], False),
    ],
)
def test_one_score_for_all_is_noticed_and_said(scores, texts, flat):
    ranking = Says(scores).rerank("q", texts)
    assert ranking.flat is flat
    assert [note for note in ranking.notes if "ranks nothing" in note] == (
        [
            f"acme reranker m-1 gave all {sum(s is not None and math.isfinite(s) for s in scores)} "
            f"texts the score {scores[0]:.4g}, which ranks nothing: the order of the first search "
            "is kept; choose another model for `rerank`"
        ]
        if flat
        else []
    )
    if flat:
        assert ranking.order() == list(range(len(texts)))


def test_a_text_without_a_score_costs_no_other():
    ranking = Says([0.1, None, 0.3], {1: "too long"}).rerank("q", ["a", "b", "c"])
    assert ranking.order() == [2, 0, 1]
    assert ranking.tokens == 7
    assert ranking.notes == (
        "acme reranker m-1 gave 1 of 3 texts no score (too long): they stand last",
    )


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([0.1], "gave 1 scores for 2 texts"),
        ([0.1, 0.2, 0.3], "gave 3 scores for 2 texts"),
        ([], "gave 0 scores for 2 texts"),
        ([math.nan, math.inf], "gave none of 2 texts a score: none of them is a number"),
        ([None, None], "gave none of 2 texts a score"),
    ],
)
def test_a_reply_that_cannot_be_used_is_an_error(scores, sentence):
    with pytest.raises(ProviderError, match=sentence):
        Says(scores).rerank("q", ["a", "b"])


def test_nothing_to_read_asks_no_model():
    reranker = Says([1.0])
    for texts in ([], [None], ["", " \n", None]):
        ranking = reranker.rerank("q", texts)
        assert ranking.order() == list(range(len(texts)))
        assert ranking.tokens == 0
        assert not ranking.notes
    assert reranker.asked == []


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_refused(query):
    with pytest.raises(QueryRefused, match="the query is empty"):
        Says([1.0]).rerank(query, ["a"])


def test_nothing_reranks_unless_it_is_asked_to():
    resource = RerankResource()
    assert not resource.chosen
    assert resource.open() is None
    with pytest.raises(ConfigurationError, match="nothing is chosen"):
        NoReranking().open()


@pytest.mark.parametrize("candidates", [0, 1001])
def test_candidates_are_bounded(candidates):
    with pytest.raises(ValueError, match="candidates"):
        RerankResource(candidates=candidates)
