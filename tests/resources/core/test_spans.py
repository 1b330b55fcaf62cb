"""Where a text is cut: as langchain-text-splitters cuts it, and each piece at its own place."""

import itertools
import typing

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

from resources.core.paths import CODE_ROOT
from resources.core.spans import spans
from resources.sources.chunking import (
    CodeChunking,
    CodeLanguage,
    MarkdownChunking,
    RecursiveChunking,
)
from resources.sources.records import SourceDocument

LANGUAGES = ("", "markdown", "python", "js", "latex", "haskell", "html")
# Few signs, so that nearly everything repeats.
REPETITIVE = st.one_of(
    st.text(st.sampled_from("ab \n"), min_size=1, max_size=300),
    st.text(st.sampled_from("a#`-$|<\n \t🙂"), min_size=1, max_size=300),
    st.lists(
        st.sampled_from(
            ["# A", "## B", "a a a", "| yes | yes |", "", "```", "def f():", "\\section{x}"]
        ),
        max_size=40,
    ).map("\n".join),
    st.lists(st.sampled_from(["a", "b a", "# A", "A\n===", "\n", "\r", "\r\n", "\r\r\n"])).map(
        "".join
    ),
)
SIZES = st.tuples(st.integers(1, 60), st.integers(0, 59)).filter(lambda pair: pair[1] < pair[0])


def by_the_library(text: str, size: int, overlap: int, language: str, length=len) -> list[str]:
    options: dict[str, typing.Any] = {}
    if language:
        separators = RecursiveCharacterTextSplitter.get_separators_for_language(Language(language))
        options = {"separators": separators, "is_separator_regex": True}
    return RecursiveCharacterTextSplitter(
        chunk_size=size,
        chunk_overlap=overlap,
        strip_whitespace=False,
        length_function=length,
        **options,
    ).split_text(text)


@settings(deadline=None, max_examples=300)
@given(REPETITIVE, SIZES, st.sampled_from(LANGUAGES))
def test_the_pieces_are_those_of_the_library(text, sizes, language):
    size, overlap = sizes
    text = text.replace("\r", "")  # by itself it ends a line for us, and not for the library
    found = [
        text[start:end] for start, end in spans(text, size=size, overlap=overlap, language=language)
    ]
    assert found == by_the_library(text, size, overlap, language)


@settings(deadline=None, max_examples=100)
@given(REPETITIVE, st.integers(2, 9), st.integers(0, 1))
def test_any_measure_of_length(text, size, overlap):
    text = text.replace("\r", "")

    def length(piece: str) -> int:
        return len(piece.encode())

    found = [
        text[start:end] for start, end in spans(text, size=size, overlap=overlap, length=length)
    ]
    assert found == by_the_library(text, size, overlap, "", length)


@pytest.mark.parametrize("language", ["", "markdown", *typing.get_args(CodeLanguage)])
@pytest.mark.parametrize(("size", "overlap"), [(200, 0), (1000, 100)])
def test_files_of_this_project(language, size, overlap):
    for name in ("README.md", "configs/embedder/openai.yaml", "resources/sources/chunking.py"):
        text = (CODE_ROOT / name).read_text("utf-8")
        for written in (text, text.replace("\n", "\r\n")):
            found = [
                written[start:end]
                for start, end in spans(written, size=size, overlap=overlap, language=language)
            ]
            assert found == by_the_library(written, size, overlap, language)


@settings(deadline=None, max_examples=300)
@example("a" * 50, (7, 3))
@example("2024 ERROR x\n" * 30, (40, 0))
@given(REPETITIVE, SIZES)
def test_every_piece_is_where_it_says(text, sizes):
    size, overlap = sizes
    for chunking in (
        RecursiveChunking(size=size, overlap=overlap),
        MarkdownChunking(size=size, overlap=overlap),
        CodeChunking(size=size, overlap=overlap, language="python"),
    ):
        places = []
        covered = set()
        for chunk in chunking.chunks(SourceDocument("d", text)):
            place = chunk.fields["chunk"]
            assert text[place["start"] : place["end"]] == chunk.text
            assert 0 < len(chunk.text) <= size
            places.append((place["start"], place["end"]))
            covered.update(range(*places[-1]))
        starts = [start for start, _ in places]
        assert starts == sorted(starts)
        assert len(set(places)) == len(places)
        for (_, end), (start, _) in itertools.pairwise(places):
            assert end - start <= overlap, "two neighbours share more than the overlap"
        assert all(at in covered for at, sign in enumerate(text) if not sign.isspace())
