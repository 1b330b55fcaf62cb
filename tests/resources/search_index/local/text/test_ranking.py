import math
import sqlite3
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resources.search_index.declaration import IndexDeclaration, TextDeclaration
from resources.search_index.local.text import ranking
from resources.search_index.local.text.building import TextBuilder
from resources.search_index.local.text.postings import TextSegment
from resources.search_index.local.text.ranking import FullText
from resources.search_index.local.text.tokens import MAX_TERMS, Tokenizer, prepared, query_terms

TOKENIZERS: list[Tokenizer] = ["unicode61", "porter", "trigram"]
WORDS = ["the", "cat", "cats", "Sat", "saturn", "élan", "mat", "a", "naïve", "running", "runs"]
TEXTS = st.one_of(
    st.none(),
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.text(alphabet="ab c\n東京都大阪の、🎉é́\0\"'*:^()-+", max_size=30),
)
OPTIONS = {
    "unicode61": "unicode61 remove_diacritics 2",
    "porter": "porter unicode61 remove_diacritics 2",
    "trigram": "trigram",
}


def build(
    folder: Path, texts: Sequence[str | None], tokenizer: Tokenizer, name: str = "text.sqlite"
) -> TextSegment:
    with TextBuilder(tokenizer) as builder:
        for start in range(0, len(texts), 7):
            builder.add(texts[start : start + 7])
        assert len(builder) == len(texts)
        builder.write(folder / name)
    return TextSegment(folder / name)


def fts5(texts: Sequence[str | None], tokenizer: Tokenizer, query: str) -> dict[int, float]:
    """What SQLite finds and how it scores it: any of the query's terms, each in quotes."""
    database = sqlite3.connect(":memory:")
    tokenized = f"USING fts5(text, tokenize='{OPTIONS[tokenizer]}')"
    database.execute(f"CREATE VIRTUAL TABLE texts {tokenized}")
    database.executemany(
        "INSERT INTO texts (rowid, text) VALUES (?, ?)",
        [(row, prepared(text, tokenizer)) for row, text in enumerate(texts) if text is not None],
    )
    terms = [term for term in query_terms(query, tokenizer) if not term.prefix]
    if not terms:
        return {}
    # Its own terms would be stemmed again: only such as stay the same are asked for here.
    quoted = [f'"{term.text.decode().replace(chr(34), chr(34) * 2)}"' for term in terms]
    found = database.execute(
        "SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH ?", (" OR ".join(quoted),)
    ).fetchall()
    database.close()
    return dict(found)


def found(text: FullText, query: str, limit: int = 1000, **options: Any) -> dict[Any, float]:
    matches = text.matching(query, limit, **options)
    assert [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)
    return {(m.segment, m.row): m.score for m in matches}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=25), query=TEXTS.filter(bool))
@settings(max_examples=60, deadline=None)
def test_one_segment_scores_as_fts5_does(
    tokenizer: Tokenizer, texts: list[str | None], query: str
) -> None:
    if tokenizer == "trigram":  # shorter and Chinese words are looked for in a way of our own
        query = " ".join(word for word in WORDS if len(word) > 2 and word in query)
    with TemporaryDirectory() as folder:
        text = FullText([build(Path(folder), texts, tokenizer)], [None], tokenizer)
        expected = fts5(texts, tokenizer, query)
        assert found(text, query) == pytest.approx(
            {(0, row): score for row, score in expected.items()}, rel=1e-12
        )


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_many_rows_score_as_in_fts5(tmp_path: Path, tokenizer: Tokenizer) -> None:
    random = np.random.default_rng(1)
    words = [f"word{int(number)}" for number in random.zipf(1.3, 60_000) % 5000]
    texts = [" ".join(words[start : start + 12]) for start in range(0, 60_000, 12)]
    text = FullText([build(tmp_path, texts, tokenizer)], [None], tokenizer)
    for query in ("word1 word2 word77", "word4999", "word1", words[-1]):
        expected = fts5(texts, tokenizer, query)
        best = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
        matches = text.matching(query, 10_000)
        assert dict(best) == pytest.approx({m.row: m.score for m in matches}, rel=1e-12)
        assert [m.score for m in matches] == pytest.approx([score for _, score in best])
        first = text.matching(query, 20)
        assert first == matches[:20]


def history(
    folder: Path, texts: Sequence[str | None], parts: int, random: Any, tokenizer: Tokenizer
) -> tuple[FullText, list[tuple[int, int]], FullText, list[Any]]:
    """The same living texts as several segments with deleted rows, and as one fresh segment.

    Returns:
        The text of the segments, the place of each living row in order, and the text of the one.
    """
    segments, alive, places, living = [], [], [], []
    for number in range(parts):
        chosen = [text for text in texts if random.random() < 0.5]
        segments.append(build(folder, chosen, tokenizer, f"{number}.sqlite"))
        mask = np.array([random.random() < 0.7 for _ in chosen], np.bool_)
        alive.append(None if mask.all() else mask)
        places += [(number, int(row)) for row in np.flatnonzero(mask)]
        living += [chosen[row] for row in np.flatnonzero(mask)]
    fresh = FullText([build(folder, living, tokenizer, "fresh.sqlite")], [None], tokenizer)
    return FullText(segments, alive, tokenizer), places, fresh, living


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(
    texts=st.lists(TEXTS, max_size=15),
    query=TEXTS.filter(bool),
    parts=st.integers(0, 4),
    limit=st.integers(1, 8),
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_segments_score_as_a_fresh_build(
    tokenizer: Tokenizer,
    texts: list[str | None],
    query: str,
    parts: int,
    limit: int,
    random: Any,
) -> None:
    with TemporaryDirectory() as folder:
        text, places, fresh, living = history(Path(folder), texts, parts, random, tokenizer)
        passes = [random.random() < 0.6 for _ in living]
        filters = [np.zeros(len(segment), np.bool_) for segment in text._segments]
        for (segment, row), passing in zip(places, passes, strict=True):
            filters[segment][row] = passing
        for ours, theirs in ((None, None), (filters, [np.array(passes, np.bool_)])):
            expected = fresh.matching(query, limit, passing=theirs)
            matches = text.matching(query, limit, passing=ours)
            # The places ascend with the rows of the fresh build, so ties are the same too.
            assert [(places.index((m.segment, m.row)), m.score) for m in matches] == [
                (m.row, m.score) for m in expected
            ]
        assert text.rows == fresh.rows == sum(one is not None for one in living)
        assert text.uses(query) == fresh.uses(query)


def spelt(segment: TextSegment) -> list[Any]:
    return [
        (term, rows.tolist(), [1] * len(rows) if counts is None else counts.tolist())
        for term, (rows, counts) in segment.all()
    ]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=15),
    query=TEXTS.filter(bool),
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_merged_segments_score_as_a_fresh_build(
    tokenizer: Tokenizer, texts: list[str | None], query: str, random: Any
) -> None:
    with TemporaryDirectory() as folder:
        text, places, _, living = history(Path(folder), texts, 3, random, tokenizer)
        path = Path(folder, "merged.sqlite")
        more = ["cat saturn", None, "東京"]
        with TextBuilder(tokenizer) as builder:
            for number, segment in enumerate(text._segments):
                if number == 1:  # new rows between those of other segments
                    builder.add(more)
                rows = [row for at, row in places if at == number]
                builder.extend(segment, np.array(rows, np.int64))
            builder.write(path)
        first = sum(segment == 0 for segment, _ in places)
        living[first:first] = more
        again = build(Path(folder), living, tokenizer, "again.sqlite")
        merged = TextSegment(path)
        assert merged.lengths.tolist() == again.lengths.tolist()
        assert spelt(merged) == spelt(again)
        assert found(FullText([merged], [None], tokenizer), query) == found(
            FullText([again], [None], tokenizer), query
        )


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(query=st.text())
@example(query='"')
@example(query="NEAR(cat mat) AND OR NOT cat* ^cat col:cat {cat} - + \" ' ` ; -- /* %_")
@example(query="\0cat")
@example(query="\ud800cat\udfff")
@example(query="🎉👩‍👩‍👧 🇯🇵")
@example(query="the of and")
@example(query="")
@example(query=" \n\t\u200b")
@example(query="x" * 100_000)
@example(query=" ".join(f"w{number}" for number in range(50_000)))
@example(query="東京" * 40_000)
@settings(max_examples=100, deadline=None)
def test_no_query_fails(small: dict[Tokenizer, FullText], tokenizer: Tokenizer, query: str) -> None:
    matches = small[tokenizer].matching(query, 5)
    assert len({match.row for match in matches}) == len(matches) <= 5
    assert all(match.score > 0 for match in matches)
    assert len(query_terms(query, tokenizer)) <= MAX_TERMS


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[Tokenizer, FullText]:
    texts = ["The cat sat on the mat.", None, "", "…", "東京都は首都です", "party 🎉 at the x x x"]
    return {
        tokenizer: FullText(
            [build(tmp_path_factory.mktemp(tokenizer), texts, tokenizer)], [None], tokenizer
        )
        for tokenizer in TOKENIZERS
    }


def test_operators_are_words(tmp_path: Path) -> None:
    texts = ["neither near nor far", "cat or dog", "not a col", "dog -cat", "rabbit"]
    text = FullText([build(tmp_path, texts, "unicode61")], [None], "unicode61")
    assert {row for _, row in found(text, "NEAR(x, 5)")} == {0}
    assert {row for _, row in found(text, "cat NOT dog")} == {1, 2, 3}
    assert {row for _, row in found(text, 'col:rabb* "rabbit dog"')} == {1, 2, 3, 4}


def test_letters_in_other_forms_are_the_same(tmp_path: Path) -> None:
    texts = ["café", "CAFE\u0301", "\uff23\uff21\uff26\uff25", "other"]
    text = FullText([build(tmp_path, texts, "unicode61")], [None], "unicode61")
    assert {row for _, row in found(text, "Café")} == {0, 1, 2}
    korean = ["한국어 공부", "\u1112\u1161\u11ab\u1100\u116e\u11a8 other", "일본어"]
    text = FullText([build(tmp_path, korean, "trigram", "korean.sqlite")], [None], "trigram")
    assert {row for _, row in found(text, "한국")} == {0, 1}


def test_porter_finds_other_forms_of_a_word(tmp_path: Path) -> None:
    texts = ["connections", "connected", "connects to", "cone"]
    stems = FullText([build(tmp_path, texts, "porter")], [None], "porter")
    assert {row for _, row in found(stems, "connecting")} == {0, 1, 2}
    plain = FullText([build(tmp_path, texts, "unicode61", "plain.sqlite")], [None], "unicode61")
    assert found(plain, "connecting") == {}


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("東京", {0, 1, 4}),  # two characters; in row 1 they are all, in row 4 the last ones
        ("京", {0, 1, 3, 4}),
        ("東京都", {0, 1, 3, 4}),  # either pair
        ("大阪、東京。", {0, 1, 2, 4}),
        ("東京タワー", {0, 1, 4, 5}),
        ("iPhone用", {6}),
        ("ﾀﾜｰ", {5}),  # of half width
        ("서울", {7}),
        ("C++", {8}),
        ("go", {8, 9}),  # a piece of a word
        ("kyoto", {10}),
        ("猫", set()),
    ],
)
def test_words_without_spaces(tmp_path: Path, query: str, rows: set[int]) -> None:
    texts = [
        "東京都は日本の首都です", "東京", "大阪城", "京都の寺", "私は昨日から東京", "タワーに登る",
        "iphone用ケース", "서울은 한국의 수도이다", "C++ and Go", "mango", "Kyoto",
    ]  # fmt: skip
    text = FullText([build(tmp_path, texts, "trigram")], [None], "trigram")
    assert {row for _, row in found(text, query)} == rows


@given(
    texts=st.lists(st.text("東京都大阪の、a b", max_size=12), min_size=1, max_size=12),
    query=st.text("東京都大阪の", min_size=1, max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_pairs_of_letters_score_by_the_formula(texts: list[str], query: str) -> None:
    pairs = list(dict.fromkeys(query[at : at + 2] for at in range(max(len(query) - 1, 1))))
    counts = [
        Counter(text[at : at + len(pair)] for pair in pairs[:1] for at in range(len(text)))
        for text in texts
    ]
    average = sum(map(len, texts)) / len(texts) or 1.0
    scores: dict[tuple[int, int], float] = {}
    for pair in pairs:
        holding = sum(count[pair] > 0 for count in counts)
        odds = (len(texts) - holding + 0.5) / (holding + 0.5)
        weight = max(math.log(odds), 1e-6) if odds > 1 else 1e-6
        for row, (text, count) in enumerate(zip(texts, counts, strict=True)):
            if count[pair]:
                bound = 1.2 * (0.25 + 0.75 * len(text) / average)
                score = weight * count[pair] * 2.2 / (count[pair] + bound)
                scores[0, row] = scores.get((0, row), 0.0) + score
    with TemporaryDirectory() as folder:
        text = FullText([build(Path(folder), texts, "trigram")], [None], "trigram")
        assert found(text, query) == pytest.approx(scores, rel=1e-12)


@pytest.mark.parametrize("many", [1, 1000])
def test_equal_scores_go_by_the_given_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(ranking, "MANY", many)
    texts = [["same"] * 6 + ["same same"], ["same"] * 5 + ["same other"]]
    segments = [build(tmp_path, texts[at], "unicode61", f"{at}") for at in range(2)]
    ids = [["h", "b", "x", "d", "f", "y", "z"], ["c", "g", "a", "_", "k", "0"]]
    alive = np.array([True, True, True, False, True, True])
    text = FullText(segments, [None, alive], "unicode61", lambda segment, row: ids[segment][row])
    for limit in (1, 2, 5, 20):
        matches = text.matching("same", limit)
        expected = ["z", *"abcdfghkxy", "0"][:limit]
        assert [ids[match.segment][match.row] for match in matches] == expected


def test_a_text_of_many_words_asks_for_the_first() -> None:
    words = [f"w{number}" for number in range(200)]
    terms = query_terms(" ".join([*words[:3], *words]), "unicode61")
    assert [term.text.decode() for term in terms] == words[:MAX_TERMS]


def test_the_declared_tokenizers_are_those_that_there_are() -> None:
    for tokenizer in TOKENIZERS:
        declared = IndexDeclaration(text=TextDeclaration(tokenizer=tokenizer)).text
        assert declared is not None
        assert query_terms("cat", declared.tokenizer)


def test_threads_share_a_version(tmp_path: Path) -> None:
    texts = [f"number {number} of {number % 7}" for number in range(3000)]
    segment = build(tmp_path, texts, "unicode61")
    text = FullText([segment], [None], "unicode61")
    queries = [f"{number % 50} of {number % 7}" for number in range(400)]
    expected = [text.matching(query, 5) for query in queries[:350]]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: text.matching(query, 5), queries))[:350] == expected
        idle = segment._connections._idle
        assert 1 <= len(idle) <= 8
        # Other threads go on where the file is gone by now.
        segment.path.unlink()
        while len(idle) > 1:
            idle.pop().close()
        assert list(pool.map(lambda query: text.matching(query, 5), queries))[:350] == expected
    assert len(idle) == 1
    segment.close()
    assert not idle
