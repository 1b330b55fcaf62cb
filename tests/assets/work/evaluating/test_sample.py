"""The same documents for everybody, whatever the order of the source, and all that is judged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.work.evaluating.pieces import Cutting, Pieces, distinct
from assets.work.evaluating.sample import Sample
from resources.core.errors import EvaluationError
from resources.core.keys import key
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.sources.chunking import NoChunking, RecursiveChunking
from resources.sources.json_files import JsonlOrigin
from resources.sources.resource import SourceResource
from resources.sources.text import parse_text

IDS = st.integers(-9, 99) | st.text("abé 0'\"\n", max_size=3)


def source(path: Path, records: Sequence[dict[str, Any]]) -> SourceResource:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return SourceResource(origin=JsonlOrigin(path=str(path)))


def judged(*relevant: Any) -> list[JudgedQuery]:
    return [
        JudgedQuery(f"q{at}", f"query {at}", [Judgement(one)]) for at, one in enumerate(relevant)
    ]


def drawn(sample: Sample, read: SourceResource, size: int, *texts: str) -> list[str]:
    ways = [parse_text(text) for text in texts or ("text",)]
    sample.draw(read, None, texts=ways, carry=[], size=size, log=lambda line: None)
    return [key(document.id) for _, document in sample.documents(0)]


@settings(max_examples=25)
@given(
    ids=st.lists(IDS, min_size=1, max_size=40, unique_by=key),
    size=st.integers(1, 30),
    data=st.data(),
)
def test_whatever_the_order_it_is_the_same_and_all_that_is_judged(
    tmp_path_factory: pytest.TempPathFactory, ids: list[Any], size: int, data: st.DataObject
):
    path = tmp_path_factory.mktemp("source") / "source.jsonl"
    relevant = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique_by=key))
    records = [{"_id": each, "text": f"text of {each!r}"} for each in ids]
    seen = []
    for order in (records, data.draw(st.permutations(records))):
        with Sample() as sample:
            sample.take(judged(*relevant, "not there"))
            seen.append(drawn(sample, source(path, order), size))
            assert sample.drawn.documents == len(seen[-1])
            assert (sample.drawn.relevant, sample.drawn.absent) == (len(relevant), 1)
            assert sample.corpus.documents == len(ids)
            assert sample.corpus.characters == [sum(len(each["text"]) for each in records)]
    assert seen[0] == seen[1]
    assert {key(each) for each in relevant} <= set(seen[0])
    assert len(seen[0]) == max(len(relevant), min(size, len(ids)))


def test_of_a_source_much_larger_than_the_sample_the_smallest_hashes_stay(tmp_path: Path):
    records = [{"_id": number, "text": f"text {number}"} for number in range(2_500)]
    with Sample() as small, Sample() as large:
        for sample in (small, large):
            sample.take(judged(7))
        read = source(tmp_path / "source.jsonl", records)
        few, many = drawn(small, read, 10), drawn(large, read, 100)
    assert len(few) == 10
    assert len(many) == 100
    assert set(few) <= set(many)


def test_a_record_counts_once_and_the_first_one_counts(tmp_path: Path):
    records = [{"_id": 1, "text": "first"}, {"_id": 1.0, "text": "second"}, {"_id": 2, "text": "a"}]
    with Sample() as sample:
        sample.take(judged(1, 2))
        assert len(drawn(sample, source(tmp_path / "s.jsonl", records), 10)) == 2
        assert sample.corpus.documents == 2
        assert [document.text for _, document in sample.documents(0)] == ["first", "a"]


def test_several_texts_come_of_one_reading_and_a_record_may_lack_one(tmp_path: Path):
    records = [
        {"_id": 1, "text": "one", "title": "T"},
        {"_id": 2, "text": "two"},
        {"_id": 3, "title": "alone"},
        {"_id": 4},
    ]
    with Sample() as sample:
        sample.take(judged(1, 2, 3, 4))
        read = source(tmp_path / "s.jsonl", records)
        assert drawn(sample, read, 10, "text", "{title}: {text}", "title") == ["n1", "n2"]
        texts = [[each.text for _, each in sample.documents(way)] for way in range(3)]
        assert texts == [["one", "two"], ["T: one"], ["T", "alone"]]
        assert (sample.corpus.documents, sample.corpus.rejected) == (3, 1)
        assert sample.corpus.texts == [2, 1, 2]
        assert (sample.drawn.absent, list(sample.drawn.absent_ids)) == (1, ["4"])


@pytest.mark.parametrize(
    ("relevant", "way_out"),
    [
        (["1"], "set `ids: integer` beside"),
        (["2", "3"], "set `ids: integer` beside"),
        (["7"], "give `evaluation` queries"),
        (["1", "one"], "give `evaluation` queries"),
    ],
)
def test_where_nothing_relevant_is_in_the_source_it_is_said_of_which_type_ids_are(
    tmp_path: Path, relevant: list[str], way_out: str
):
    read = source(tmp_path / "s.jsonl", [{"_id": n, "text": "a"} for n in (1, 2, 3)])
    with Sample() as sample:
        sample.take(judged(*relevant))
        with pytest.raises(
            EvaluationError, match=f'such as "{relevant[0]}".*ids there look like 1: {way_out}'
        ):
            drawn(sample, read, 10)


def test_queries_that_nothing_answers_measure_nothing():
    with Sample() as sample, pytest.raises(EvaluationError, match="nothing can be measured"):
        sample.take([JudgedQuery("q", "a"), JudgedQuery("r", "b", [Judgement(1, 0)])])


@settings(max_examples=25)
@given(
    st.lists(
        st.builds(
            JudgedQuery,
            st.text(max_size=5),
            st.text(max_size=20),
            st.lists(st.builds(Judgement, IDS, st.integers(0, 3)), max_size=4),
            st.none() | st.dictionaries(st.sampled_from(["a", "b"]), IDS, max_size=2),
            st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        ).filter(lambda query: query.answerable),
        min_size=1,
        max_size=30,
    )
)
def test_queries_come_back_as_they_were_in_their_order(queries: list[JudgedQuery]):
    with Sample() as sample:
        sample.take(queries)
        back = [query for window in sample.queries(7) for query in window]
    assert [each.digest() for each in back] == [each.digest() for each in queries]
    assert [dict(each.segments) for each in back] == [dict(each.segments) for each in queries]


def test_a_text_of_two_cuttings_is_one(tmp_path: Path):
    records = [
        {"_id": 1, "text": "alpha beta"},
        {"_id": 2, "text": "alpha"},
        {"_id": 3, "text": "alpha"},
    ]
    with Sample() as sample:
        sample.take(judged(1))
        drawn(sample, source(tmp_path / "s.jsonl", records), 10)
        cut = RecursiveChunking(size=5, overlap=0)
        whole = Pieces(sample, 0, Cutting(0, NoChunking()))
        pieces = Pieces(sample, 1, Cutting(0, cut))
        assert (whole.rows, pieces.rows, pieces.documents) == (3, 4, 3)
        assert [chunk.text for chunk in distinct(sample, [whole])] == ["alpha beta", "alpha"]
        both = [chunk.text for chunk in distinct(sample, [whole, pieces])]
        assert both == ["alpha beta", "alpha", "beta"]
        ids, sources = pieces.ids()
        assert sources == [1, 1, 2, 3]
        assert [pieces.text(row) for row in range(4)] == ["alpha", "beta", "alpha", "alpha"]
        assert len(set(ids)) == 4
