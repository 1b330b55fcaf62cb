"""Known-item queries: the same from the same documents, and a change changes only its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.core.errors import EvaluationError
from resources.evaluation.judged import digest
from resources.evaluation.queries.generated import GeneratedQueries, first_sentence
from resources.sources.json_files import JsonlOrigin
from resources.sources.resource import SourceResource
from tests.pipelines.helpers import write_jsonl
from tests.resources.evaluation.queries.places import where


def settings(**given: Any) -> GeneratedQueries:
    return GeneratedQueries(**{"from": "title", **given})


WORDS = st.sampled_from(["moon", "river", "stone", "lamp", "oak"])
TITLES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
CORPORA = st.lists(
    st.fixed_dictionaries({"title": TITLES, "text": TITLES}), min_size=1, max_size=30
).map(lambda rows: [{"_id": number, **row} for number, row in enumerate(rows)])


def asked(documents: Any, **given: Any) -> dict[str, set[str]]:
    """Keys of the relevant documents by query; nothing where none can be made."""
    try:
        found = list(settings(**given).open(where(documents=documents)))
    except EvaluationError:
        return {}
    return {query.text: set(query.grades) for query in found}


@given(documents=CORPORA, sample=st.integers(1, 12), seed=st.integers(0, 3), data=st.data())
def test_they_are_the_same_whatever_the_order(
    documents: list[dict[str, Any]], sample: int, seed: int, data: st.DataObject
):
    given = {"sample": sample, "seed": seed}
    found = asked(documents, **given)
    assert len(found) <= sample
    assert asked(data.draw(st.permutations(documents)), **given) == found
    # All that have a title are relevant to it, and are asked for by nothing else.
    for text, keys in found.items():
        assert keys == {f"n{each['_id']}" for each in documents if each["title"] == text}
    titles = {each["title"] for each in documents if len(each["title"].split()) > 1}
    assert len(found) == min(sample, len(titles))


@given(documents=CORPORA, data=st.data())
def test_a_changed_document_changes_only_its_own(
    documents: list[dict[str, Any]], data: st.DataObject
):
    changed = data.draw(st.sampled_from(documents))
    before = asked(documents, sample=100)
    edited = [{**each, "title": "another title"} if each is changed else each for each in documents]
    after = asked(edited, sample=100)
    own = {changed["title"], "another title"}
    others = {text: keys for text, keys in before.items() if text not in own}
    assert others == {text: keys for text, keys in after.items() if text not in own}


def test_another_seed_asks_for_others():
    documents = [{"_id": n, "title": f"title {n}", "text": "t"} for n in range(50)]
    chosen = {frozenset(asked(documents, sample=5, seed=seed)) for seed in range(4)}
    assert len(chosen) == 4


def test_what_is_left_out_is_told():
    documents = [
        {"_id": 1, "title": "a good title", "text": "t"},
        {"_id": 2, "text": "t"},
        {"_id": 3, "title": "one", "text": "t"},
        {"_id": 4, "title": 5, "text": "t"},
        *({"_id": n, "title": "not named", "text": "t"} for n in range(10, 31)),
    ]
    found = settings().open(where(documents=documents))
    assert [query.text for query in found] == ["a good title"]
    assert found.known_item
    assert list(found.notes) == [
        "known-item queries: each is the field 'title' of the document that it has to find",
        "the field 'title' is not part of the text that is embedded",
        "they say nothing of text or hybrid search, which looks for a document's own words",
        "1 documents are left out: it has fewer than 2 words",
        "1 documents are left out: the field is missing",
        "1 documents are left out: the field is no text",
        "21 documents are left out: their text is that of more than 20 documents",
    ]


@pytest.mark.parametrize(
    ("text", "field", "embedded"),
    [
        ("text", "first_sentence", True),
        ("text", "title", False),
        ("{title}: {text}", "title", True),
        ("about.plot", "about", False),
        ("about", "about.plot", True),
    ],
)
def test_it_is_said_whether_they_are_part_of_what_is_embedded(
    text: str, field: str, embedded: bool
):
    found = settings(**{"from": field}).open(where(text=text))
    assert f"{'is' if embedded else 'is not'} part of the text" in found.notes[1]


def test_a_field_that_is_not_carried_is_read_all_the_same(tmp_path: Path):
    rows = [{"_id": 1, "text": "t", "about": {"title": "two words", "year": 5}}]
    path = str(write_jsonl(tmp_path / "s.jsonl", rows))
    for carry in ([], ["about"], ["about.year"], ["about.title"]):
        source = SourceResource(origin=JsonlOrigin(path=path), carry=carry)
        place = where()
        found = settings(**{"from": "about.title"}).open(
            type(place)("p", place.client, place.registry, source)
        )
        assert [query.text for query in found] == ["two words"]


def test_where_nothing_can_be_asked_it_is_said_why():
    found = settings().open(where(documents=[{"_id": 1, "text": "t"}]))
    with pytest.raises(
        EvaluationError,
        match=r"no query can be made from the field 'title'.*miss.*one of text, first_sentence$",
    ):
        list(found)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("The tide turns at noon. Then it falls.", "The tide turns at noon."),
        ("Dr. Moth circles the lamp. All night.", "Dr. Moth circles the lamp."),
        ("# A heading\n\nIts text follows. Here.", "A heading"),
        ("No end at all", "No end at all"),
        ("One line\nof two lines that go on? Yes.", "One line\nof two lines that go on?"),
        ("潮は正午に変わる。そして落ちる。", "潮は正午に変わる。"),
        ('He said "go home now." And left.', 'He said "go home now."'),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, sentence: str):
    assert first_sentence(text) == sentence


def test_it_stays_the_same_set_from_version_to_version():
    """A check compares a run with the last one of the same set."""
    documents = [{"_id": n, "title": f"title {n}", "text": "t"} for n in range(9)]
    found = settings(sample=5).open(where(documents=documents))
    assert digest(iter(found)) == digest(iter(found))
    assert json.dumps(sorted(query.text for query in found)) == PINNED


PINNED = '["title 1", "title 2", "title 4", "title 7", "title 8"]'
