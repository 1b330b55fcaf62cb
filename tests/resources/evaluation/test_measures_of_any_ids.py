"""Measures go by which documents were found and where, whatever their ids are made of."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.evaluation.judged import JudgedQuery, Judgement
from resources.evaluation.measures import MEASURES, per_query
from resources.evaluation.rankings import Ranking

pytest.importorskip("ir_measures")

# With zeros and halves of characters, which strings of C and UTF-8 have no place for.
NASTY = st.text(st.characters() | st.sampled_from("\0\ud800\n\t "), max_size=4)
IDS = st.one_of(NASTY, st.integers(), st.floats(allow_nan=False), st.booleans(), st.binary())


def measured(
    judged: list[tuple[Any, int]], found: list[Any], name: str = "q"
) -> dict[str, np.ndarray]:
    query = JudgedQuery(name, "?", [Judgement(each, grade) for each, grade in judged])
    hits = [(each, 1.0 - at / 1_000) for at, each in enumerate(found)]
    return per_query([query], [Ranking.of(name, hits)])


@settings(max_examples=60)
@given(
    ids=st.lists(IDS, min_size=2, max_size=12, unique_by=repr),
    name=NASTY,
    draw=st.randoms(use_true_random=False),
)
def test_other_ids_in_the_same_places_give_the_same_numbers(ids, name, draw):
    # Ids that are one document to MongoDB, as 1 and 1.0 are, are one here.
    ids = list({Ranking.of("", [(each, 1.0)]).keys[0]: each for each in ids}.values())
    shuffled = draw.sample(ids, len(ids))
    relevant = {at: draw.randint(1, 5) for at in range(0, len(ids), 2)}
    plain = {id(each): f"d{at}" for at, each in enumerate(ids)}
    mine = measured([(ids[at], grade) for at, grade in relevant.items()], shuffled, name)
    theirs = measured(
        [(f"d{at}", grade) for at, grade in relevant.items()],
        [plain[id(each)] for each in shuffled],
    )
    assert {each: mine[each].tolist() for each in MEASURES} == {
        each: theirs[each].tolist() for each in MEASURES
    }


def test_a_document_whose_id_only_begins_like_the_relevant_one_is_another():
    found = measured([("a\0b", 1)], ["a\0c", "a\0b"])
    assert {each: float(found[each][0]) for each in ("success@1", "mrr@10", "recall@10")} == {
        "success@1": 0,
        "mrr@10": 0.5,
        "recall@10": 1,
    }


def test_half_a_character_is_an_id_too():
    assert measured([("a\ud800", 1)], ["b", "a\ud800"])["mrr@10"].tolist() == [0.5]
