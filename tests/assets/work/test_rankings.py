"""What many queries find is what a search finds for each, down to the last hit."""

import secrets

import pytest

from assets.work.searching import Question
from pipelines.operations.search.opening import open_searcher
from resources.core.errors import QueryRefused
from resources.core.keys import key
from tests.workshop import Workshop

LAYOUTS = {
    "beside": {},
    "chunked": {"source": {"chunking": {"recursive": {"size": 40, "overlap": 0}}}},
    "coarse": {
        "vector_store": {"dtype": "packed_bit", "rescore": "float32"},
        "search_index": {"similarity": "euclidean"},
    },
}
DOCUMENTS = [
    {"_id": n, "text": ". ".join(f"matter {n * 7 % 40 + k} of film {n}" for k in range(3)),
     "kind": "ab"[n % 2]}
    for n in range(40)
]  # fmt: skip
TEXTS = ["matter 3", "film 12", "of matter 17 and film 4"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rankings_are_what_searches_find(tmp_path, mongod_uri, static_model, layout: str):
    workshop = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    workshop.configure({"search_index": {"text": {}}})
    workshop.configure(LAYOUTS[layout])
    workshop.write(DOCUMENTS)
    run = workshop.run()
    assert run.success, run.failures
    with open_searcher(workshop.pipeline, follow=False) as searcher:
        window = searcher.query_window(TEXTS)
        questions = [Question(*each) for each in zip(TEXTS, window.vectors, strict=True)]
        for mode in ("vector", "hybrid", "text"):
            found = searcher.rankings(questions, mode=mode, depth=12)
            answers = searcher.search_many(TEXTS, mode=mode, limit=12, group_by_source=True)
            assert [[(key(at), score) for at, score in each.hits] for each in found] == [
                [(key(hit.source_id), hit.score) for hit in answer.hits] for answer in answers
            ]
            assert all(each.hits for each in found)
        exact = searcher.rankings(questions, exact=True)
        assert [len({key(at) for at, _ in each.hits}) for each in exact] == [40] * 3


def test_a_filter_that_the_index_does_not_know_is_refused_with_its_query(workshop):
    workshop.write(DOCUMENTS[:3])
    workshop.run()
    with open_searcher(workshop.pipeline, follow=False) as searcher:
        vectors = searcher.embed_queries(TEXTS)
        found = searcher.rankings([Question(TEXTS[0], vectors[0], {"kind": "a"})])
        assert {hit[0] for hit in found[0].hits} == {0, 2}
        with pytest.raises(QueryRefused, match=r"film 12.*year"):
            searcher.rankings([Question(TEXTS[1], vectors[1], {"year": 3})])
