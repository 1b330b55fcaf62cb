import dataclasses

import pytest

from resources.search_index.query import Query


@pytest.mark.parametrize(
    ("query", "candidates"),
    [
        (Query(1), 100),
        (Query(5), 100),
        (Query(6), 120),
        (Query(500), 10_000),
        (Query(10_000), 10_000),
        (Query(20, num_candidates=20), 20),
    ],
)
def test_what_an_approximate_search_considers(query: Query, candidates: int) -> None:
    assert query.candidates == candidates


def test_a_choice_to_rank_anew_is_all_that_is_considered() -> None:
    asked = Query(10, {"kind": "hat"}, num_candidates=50)
    assert asked.widened() == dataclasses.replace(asked, limit=50)
    assert Query(10).widened().limit == 200
    # Never fewer than are wanted.
    assert Query(20_000, exact=True).widened().limit == 20_000
