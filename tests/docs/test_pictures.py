"""The pictures of docs/: small, shown, and made by `make pictures`, which says what it needs."""

import pytest

from tests.docs import pictures
from tests.docs.markdown import documents

PICTURES = sorted(pictures.DOCS.glob("*.png"))
PALETTE = 3
"""The colour type in a PNG's header."""


def test_every_picture_is_shown():
    shown = {
        (document.path.parent / target).resolve()
        for document in documents()
        for target, _ in document.links()
    }
    assert {path.name for path in PICTURES} == {
        "asset-graph.png",
        "asset-page.png",
        "search-page.png",
        "search-quality.png",
    }
    assert set(PICTURES) <= shown


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small(path):
    content = path.read_bytes()
    assert len(content) <= pictures.LARGEST
    assert content[25] == PALETTE


def test_without_chromium_it_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "CHROMIUM", None)
    with pytest.raises(
        SystemExit, match=r"^pictures are taken by Chromium .* install both"
    ) as ended:
        pictures.main()
    assert "\n" not in str(ended.value)
