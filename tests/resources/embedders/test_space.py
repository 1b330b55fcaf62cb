import dataclasses
import re

import pytest

from resources.embedders.space import EmbeddingSpace

SPACE = EmbeddingSpace(
    provider="voyage",
    model="voyage-3.5",
    revision="",
    dimensions=1024,
    document_prompt="input_type=document",
    normalized=True,
)


def test_the_id_is_readable_deterministic_and_a_legal_field_name():
    assert SPACE.id == dataclasses.replace(SPACE).id
    assert re.fullmatch(r"voyage-3-5-1024-[0-9a-f]{8}", SPACE.id)


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "openai"},
        {"model": "voyage-4"},
        {"revision": "abc"},
        {"dimensions": 512},
        {"document_prompt": ""},
        {"normalized": False},
        {"options": (("max_tokens", 64),)},
    ],
    ids=str,
)
def test_whatever_makes_vectors_incomparable_changes_the_id(change):
    other = dataclasses.replace(SPACE, **change)
    assert other.id != SPACE.id
    name = next(iter(change)).replace("_", " ")
    assert name in other.difference(SPACE)


def test_the_meaning_survives_the_registry():
    space = dataclasses.replace(SPACE, options=(("max_tokens", 64),))
    stored = {**space.to_document(), "_id": space.id, "first_seen": "some day"}
    assert EmbeddingSpace.from_document(stored) == space
