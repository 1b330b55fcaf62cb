import gc
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from resources.core.errors import SearchIndexError
from resources.search_index.local.text import building
from resources.search_index.local.text.building import TextBuilder
from resources.search_index.local.text.postings import NO_TEXT, TextSegment
from resources.search_index.local.text.tokens import Term


def write(path: Path, texts: list[str | None]) -> TextSegment:
    with TextBuilder("unicode61") as builder:
        builder.add(texts)
        builder.write(path)
    return TextSegment(path)


def test_a_file_says_which_rows_hold_a_term(tmp_path: Path) -> None:
    segment = write(tmp_path / "what? 100%#.sqlite", ["a b a", None, "", "b b b", "c" * 70_000])
    assert segment.lengths.tolist() == [3, NO_TEXT, 0, 3, 1]
    a, b, none, begin = segment.postings(
        [Term(b"a"), Term(b"b"), Term(b"x"), Term(b"c", prefix=True)]
    )
    assert a.counts is not None
    assert b.counts is not None
    assert (a.rows.tolist(), a.counts.tolist()) == ([0], [2])
    assert (b.rows.tolist(), b.counts.tolist()) == ([0, 3], [1, 3])
    assert none.rows.tolist() == []
    assert (begin.rows.tolist(), begin.counts) == ([4], None)


@pytest.mark.parametrize("word", ["c" * 100_000, "é" * 50_000 + "x", "字" * 30_000])
def test_a_word_beyond_what_fts5_keeps_is_cut_alike(tmp_path: Path, word: str) -> None:
    segment = write(tmp_path / "text.sqlite", [f"start {word}", "other"])
    assert [postings.rows.tolist() for term, postings in segment.all() if len(term) > 5] == [[0]]


def test_of_no_rows(tmp_path: Path) -> None:
    segment = write(tmp_path / "text.sqlite", [])
    assert len(segment) == 0
    assert list(segment.all()) == []


def test_a_frequent_term_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str | None] = [f"often often {number} often" for number in range(1000)]
    whole = write(tmp_path / "whole.sqlite", texts)
    monkeypatch.setattr(building, "WHOLE", 500)
    monkeypatch.setattr(building, "PIECE", 100)  # which cuts through rows
    pieces = write(tmp_path / "pieces.sqlite", texts)
    (expected,), (found,) = whole.postings([Term(b"often")]), pieces.postings([Term(b"often")])
    assert found.rows.tolist() == expected.rows.tolist() == list(range(1000))
    assert found.counts.tolist() == expected.counts.tolist() == [3] * 1000
    assert pieces.lengths.tolist() == [4] * 1000


def test_counts_and_steps_of_every_width(tmp_path: Path) -> None:
    texts: list[str | None] = [""] * 70_300
    counts = {0: 1, 3: 255, 4: 256, 300: 65_535, 301: 65_536, 70_299: 2}
    for row, count in counts.items():
        texts[row] = "word " * count
    (found,) = write(tmp_path / "text.sqlite", texts).postings([Term(b"word")])
    assert dict(zip(found.rows.tolist(), found.counts.tolist(), strict=True)) == counts


def test_texts_pass_through(tmp_path: Path) -> None:
    """100 MB of texts leave nothing of that size behind in memory."""

    def texts() -> Iterator[str]:
        for number in range(1000):
            yield f"text {number} " + f"{'x' * 999} " * 100

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with TextBuilder("unicode61") as builder:
        builder.add(texts())
        builder.write(tmp_path / "text.sqlite")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 80_000
    assert len(TextSegment(tmp_path / "text.sqlite")) == 1000


def test_what_is_no_text_index_is_said(tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"SQLite format 3\0" + b"?" * 5000)
    (tmp_path / "empty").write_bytes(b"")
    for name in ("torn", "empty", "missing"):
        with pytest.raises(SearchIndexError, match=rf"{name}.*materialize search_index again"):
            TextSegment(tmp_path / name)
    write(tmp_path / "newer", ["a"]).close()
    with sqlite3.connect(tmp_path / "newer") as database:
        database.execute("UPDATE segment SET format = 99")
    database.close()
    with pytest.raises(SearchIndexError, match=r"newer.*another version"):
        TextSegment(tmp_path / "newer")


def test_no_room_is_said(tmp_path: Path) -> None:
    with TextBuilder("unicode61") as builder:
        builder.add(["a"])
        with pytest.raises(SearchIndexError, match=r"unable to open.*SQLITE_TMPDIR"):
            builder.write(tmp_path / "no" / "such" / "folder")
    with TextBuilder("unicode61") as builder:
        builder._db.execute("PRAGMA max_page_count = 600")
        with pytest.raises(SearchIndexError, match=r"disk is full.*SQLITE_TMPDIR"):
            builder.add(f"w{number}x{number}" for number in range(2_000_000))


def test_other_tokenizers_are_not_merged(tmp_path: Path) -> None:
    words = write(tmp_path / "words.sqlite", ["a"])
    with TextBuilder("trigram") as builder, pytest.raises(SearchIndexError, match="unicode61"):
        builder.extend(words, np.array([0]))


def test_a_scratch_folder_goes_with_its_segment(tmp_path: Path) -> None:
    scratch = TemporaryDirectory(dir=tmp_path)
    write(Path(scratch.name, "text.sqlite"), ["a"])
    segment = TextSegment(Path(scratch.name, "text.sqlite"), scratch)
    del scratch
    gc.collect()
    assert segment.postings([Term(b"a")])[0].rows.tolist() == [0]
    del segment
    gc.collect()
    assert not list(tmp_path.iterdir())
