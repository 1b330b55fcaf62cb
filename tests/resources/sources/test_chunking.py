"""Chunks: pieces of the text as it is, with ids that edits elsewhere leave alone."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from resources.core.chunks import Chunk
from resources.core.errors import ConfigurationError, ProviderError
from resources.sources.chunking import (
    Chunking,
    CodeChunking,
    MarkdownChunking,
    NoChunking,
    RecursiveChunking,
    TokenChunking,
)
from resources.sources.inline import TextsOrigin
from resources.sources.records import SourceDocument
from resources.sources.resource import SourceResource

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
WORDS = ("the", "ship", "sank", "slowly", "while", "a", "band", "played", "under", "stars")


def cut(chunking: Chunking, text: str, **fields) -> list[Chunk]:
    return list(chunking.chunks(SourceDocument("doc", text, fields)))


def paragraphs(count: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    return "\n\n".join(
        " ".join(f"{draw.choice(WORDS)}{draw.randrange(1000)}" for _ in range(draw.randint(10, 60)))
        for _ in range(count)
    )


TEXT = paragraphs(100)
CHUNKERS = {
    "recursive": RecursiveChunking(size=600, overlap=0),
    "overlap": RecursiveChunking(size=600, overlap=80),
    "token": TokenChunking(size=120, overlap=20, tokenizer=MINILM),
    "markdown": MarkdownChunking(size=600, overlap=60),
    "python": CodeChunking(size=600, overlap=60, language="python"),
}


@pytest.fixture(params=CHUNKERS)
def chunking(request):
    return CHUNKERS[request.param]


def test_without_chunking_a_document_is_its_own_chunk():
    (chunk,) = cut(NoChunking(), TEXT, kind="film")
    assert (chunk.id, chunk.source_id, chunk.text) == ("doc", "doc", TEXT)
    assert chunk.fields == {"kind": "film"}
    assert NoChunking().describe() is None


def test_chunks_are_pieces_of_the_text_at_the_offsets_they_carry(chunking):
    found = cut(chunking, TEXT, kind="film")
    assert len(found) > 20
    covered = set()
    for index, chunk in enumerate(found):
        place = chunk.fields["chunk"]
        assert TEXT[place["start"] : place["end"]] == chunk.text
        assert place["index"] == index
        assert chunk.fields["kind"] == "film"
        assert chunk.source_id == "doc"
        covered.update(range(place["start"], place["end"]))
    assert all(at in covered for at, sign in enumerate(TEXT) if not sign.isspace()), "nothing lost"
    assert len({chunk.id for chunk in found}) == len(found)


def test_an_insertion_at_the_top_leaves_the_chunks_below_alone(chunking):
    before = {chunk.id for chunk in cut(chunking, TEXT)}
    after = {chunk.id for chunk in cut(chunking, paragraphs(1, seed=9) + "\n\n" + TEXT)}
    assert 0 < len(after - before) <= 3


def test_an_edit_in_the_middle_changes_the_chunks_around_it_only(chunking):
    middle = TEXT.index("\n\n", len(TEXT) // 2)
    before = {chunk.id for chunk in cut(chunking, TEXT)}
    after = {chunk.id for chunk in cut(chunking, TEXT[:middle] + " and then" + TEXT[middle:])}
    assert 0 < len(after - before) <= 3


def test_a_single_long_paragraph_finds_its_old_borders_again():
    text = TEXT.replace("\n\n", " ")
    chunking = RecursiveChunking(size=300, overlap=0)
    before = {chunk.id for chunk in cut(chunking, text)}
    after = {chunk.id for chunk in cut(chunking, "Hello. " + text)}
    assert len(after - before) < len(before) / 2


@settings(deadline=None, max_examples=60)
@example(" \t====", 5, 3)
@example("  ab  ab", 5, 3)
@given(
    st.text(st.sampled_from("ab \n.#`=-{}é🙂\t"), min_size=1, max_size=400).filter(str.strip),
    st.integers(5, 60),
    st.integers(0, 4),
)
def test_any_text_is_cut_into_its_own_pieces(text, size, overlap):
    for chunking in (
        RecursiveChunking(size=size, overlap=overlap),
        MarkdownChunking(size=size, overlap=overlap),
        CodeChunking(size=size, overlap=overlap, language="js"),
    ):
        found = cut(chunking, text)
        covered = set()
        for chunk in found:
            place = chunk.fields["chunk"]
            assert text[place["start"] : place["end"]] == chunk.text
            assert 0 < len(chunk.text) <= size
            covered.update(range(place["start"], place["end"]))
        ids = [chunk.id for chunk in found]
        assert len(set(ids)) == len(ids)


def test_a_piece_that_repeats_is_numbered():
    found = cut(RecursiveChunking(size=5, overlap=0), "same\n\nsame\n\nsame")
    assert [chunk.text for chunk in found] == ["same"] * 3
    first = found[0].id
    assert [chunk.id for chunk in found] == [first, f"{first}-2", f"{first}-3"]
    assert [chunk.fields["chunk"]["start"] for chunk in found] == [0, 6, 12]


def test_tokens_are_those_of_the_model():
    from tokenizers import Tokenizer

    from resources.models.model_folder import find_model

    tokenizer = Tokenizer.from_file(str(find_model(MINILM).path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = [
        len(tokenizer.encode(chunk.text, add_special_tokens=False).ids)
        for chunk in cut(TokenChunking(size=64, overlap=0, tokenizer=MINILM), TEXT)
    ]
    assert max(counts) <= 64
    assert sum(counts) / len(counts) > 32


def test_a_chunk_of_markdown_carries_its_headings():
    ships = "# Ships\n\nOf ships.\n\n## Ocean\n\nA liner.\n\n```\n# no heading\n```\n\n"
    text = ships + "Air\n===\n\nA plane flies above them all."
    found = cut(MarkdownChunking(size=30, overlap=0), text)
    headings = {c.text.split("\n")[0]: c.fields["chunk"]["headings"] for c in found}
    assert headings["# Ships"] == ["Ships"]
    assert headings["## Ocean"] == ["Ships", "Ocean"]
    assert not any("no heading" in title for path in headings.values() for title in path)
    assert found[-1].fields["chunk"]["headings"] == ["Air"]


ENDS = st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["# One", "## Two", "### Three ###", "Four\n===", "text", ""]), ENDS
        ),
        min_size=1,
        max_size=30,
    ),
    st.one_of(st.none(), ENDS),
)
def test_headings_are_found_at_every_line_end(blocks, everywhere):
    """Whatever the line ends, a chunk stands under the same headings."""
    text, path, expected = "", [], []
    for block, own_end in blocks:
        end = everywhere or own_end
        start = len(text)
        text += block.replace("\n", end) + end + end
        level = {"#": block.count("#", 0, 3), "F": 1}.get(block[:1], 0)
        if level:
            path = [*(above for above in path if above[0] < level), (level, block.split("\n")[0])]
        expected.append((start, [title.strip("# ") for _, title in path]))
    for chunk in cut(MarkdownChunking(size=12, overlap=0), text):
        place = chunk.fields["chunk"]
        at = max(entry for entry in expected if entry[0] <= place["start"])
        assert place["headings"] == at[1]


def test_markdown_is_cut_at_its_headings_at_every_line_end():
    for end in ("\n", "\r\n", "\r", "\r\r\n"):
        text = end.join(["# Alpha", "first part of it", "# Beta", "second part", ""])
        found = cut(MarkdownChunking(size=30, overlap=0), text)
        assert [(chunk.text.split()[1], chunk.fields["chunk"]["headings"]) for chunk in found] == [
            ("Alpha", ["Alpha"]),
            ("Beta", ["Beta"]),
        ]


def test_code_is_cut_at_its_functions():
    text = "\n\n".join(f"def f{n}(x):\n    y = x + {n}\n    return y * {n}" for n in range(6))
    found = cut(CodeChunking(size=60, overlap=0, language="python"), text)
    assert [chunk.text.splitlines()[0] for chunk in found] == [f"def f{n}(x):" for n in range(6)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "recursive", "size": 10, "overlap": 10}, "overlap .10. must be smaller"),
        ({"kind": "recursive", "size": 0}, "greater than or equal to 1"),
        ({"kind": "token", "size": 10, "overlap": 1}, "tokenizer"),
        ({"kind": "code", "language": "klingon"}, "language"),
    ],
    ids=["overlap", "size", "no tokenizer", "unknown language"],
)
def test_settings_that_cannot_be(values, words):
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(Chunking).validate_python(values)


def test_a_carried_field_must_not_stand_where_the_place_is_kept():
    origin = TextsOrigin(documents=["x"])
    SourceResource(origin=origin, carry=["chunk"])
    with pytest.raises(ValidationError, match=r"'chunk\.size' is where a chunk's place"):
        SourceResource(origin=origin, carry=["chunk.size"], chunking=RecursiveChunking())


def test_a_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(ProviderError, match="nowhere"):
        cut(TokenChunking(tokenizer=str(tmp_path / "nowhere")), TEXT)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ConfigurationError, match=r"has no tokenizer\.json"):
        cut(TokenChunking(tokenizer=str(tmp_path)), TEXT)


def test_the_lineage_names_the_chunker_with_its_settings():
    assert RecursiveChunking().describe() == "recursive(size=1000, overlap=100)"
    assert "language=python" in str(CodeChunking(language="python").describe())
