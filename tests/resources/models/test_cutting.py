"""Which vectors can be cut, and what of."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from resources.core.space import EmbeddingSpace
from resources.models import cutting

SMALL = EmbeddingSpace("openai", "text-embedding-3-small", "", 1536, "", normalized=True)
NOMIC = EmbeddingSpace(
    "sentence_transformers", "nomic-ai/nomic-embed-text-v1.5", "r", 768, "", normalized=True
)


@given(st.sets(st.integers(1, 1535), max_size=6), st.integers(1, 1535))
def test_wider_spaces_are_told_by_their_ids(widths: set[int], wanted: int):
    there = [replace(SMALL, dimensions=width) for width in widths]
    others = [
        replace(space, **change).id
        for space in there
        for change in ({"revision": "2"}, {"document_prompt": "p"}, {"normalized": False})
    ]
    found = cutting.wider(
        replace(SMALL, dimensions=wanted),
        "text-embedding-3-small",
        [*(space.id for space in there), *others, "no-id", ""],
    )
    assert [space.dimensions for space in found] == sorted(w for w in widths if w > wanted)
    assert set(found) <= set(there)


def test_of_a_model_that_cannot_be_cut_there_is_none():
    there = EmbeddingSpace("openai", "text-embedding-ada-002", "", 1536, "", normalized=True)
    narrow = replace(there, dimensions=512)
    assert cutting.wider(narrow, "text-embedding-ada-002", [there.id]) == []
    assert cutting.widths(there, "text-embedding-ada-002") == []


def test_values_normalised_over_the_whole_vector_are_cut_only_where_they_are():
    assert "by its provider alone" in cutting.why_not(NOMIC, NOMIC.model, 256)
    normed = replace(NOMIC, options=(("layer_norm", True),))
    assert cutting.why_not(normed, NOMIC.model, 256) == ""
    narrow = replace(normed, dimensions=256)
    assert cutting.wider(narrow, NOMIC.model, [NOMIC.id, normed.id]) == [normed]
    assert cutting.widths(NOMIC, NOMIC.model) == []
    assert cutting.widths(normed, NOMIC.model)[:2] == [768, 512]
