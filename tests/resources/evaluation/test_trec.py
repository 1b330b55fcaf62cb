"""Ids as words of TREC's files."""

from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import example, given
from hypothesis import strategies as st

from resources.core.keys import key
from resources.evaluation.trec import token, untoken
from tests.resources.sources.bson_values import IDS

WORDS = st.text(st.sampled_from('5a"{}b: \\u0020\t\u00a0\u2028\ufeff-+é$'), max_size=6)
HEX = "0123456789abcdef01234567"


@given(value=IDS | WORDS | WORDS.map(lambda text: {"a": text}), bare_is_text=st.booleans())
@example(value=HEX, bare_is_text=False)
@example(value="5", bare_is_text=False)
@example(value="", bare_is_text=True)
@example(value={"$a": 1}, bare_is_text=True)
@example(value="-0", bare_is_text=False)
@example(value=str(2**63), bare_is_text=False)
def test_every_id_is_one_word_that_gives_it_back(value: Any, bare_is_text: bool):
    word = token(value, bare_is_text=bare_is_text)
    assert word.split() == [word]
    assert word.isprintable()
    assert key(untoken(word, bare_is_text=bare_is_text)) == key(value)


@given(ids=st.lists(IDS | WORDS, min_size=2, max_size=8), bare_is_text=st.booleans())
def test_two_ids_never_share_a_word(ids: list[Any], bare_is_text: bool):
    words = {token(value, bare_is_text=bare_is_text) for value in ids}
    assert len(words) >= len(set(map(key, ids)))


@pytest.mark.parametrize(
    ("value", "word", "with_text"),
    [
        ("LA010189-0018", "LA010189-0018", "LA010189-0018"),
        ("日本", "日本", "日本"),
        (184, "184", None),
        (184.0, "184", None),
        (Int64(184), "184", None),
        (Decimal128("184"), "184", None),
        ("184", '"184"', "184"),
        ("0184", "0184", "0184"),
        (ObjectId(HEX), HEX, None),
        (HEX, f'"{HEX}"', HEX),
        ("a b", '"a\\u0020b"', '"a\\u0020b"'),
    ],
    ids=repr,
)
def test_what_a_person_would_write_is_written(value: Any, word: str, with_text: str | None):
    assert token(value) == word
    assert token(value, bare_is_text=True) == (with_text or token(value, bare_is_text=True))
    assert with_text or token(value, bare_is_text=True).startswith("b:")


@pytest.mark.parametrize("word", ['"open', "{open", '{"$oid": 1}', "b:12", "b:!"])
def test_what_others_have_written_is_text_as_it_stands(word: str):
    assert untoken(word) == word
