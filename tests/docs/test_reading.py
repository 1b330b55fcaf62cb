"""What the other tests of this folder read out of Markdown is what stands there."""

from pathlib import Path

import pytest

from tests.docs.lines import Line, lines
from tests.docs.markdown import Document

PAGE = """\
# A page

## `one: two` and more

Run `embeddings plan shop` or `embeddings index drop PIPELINE`; see [there](other.md#a-place).

| command | |
| --- | --- |
| `embeddings models \\| grep voyage` | a table |

```sh
make demo    # with a remark
embeddings search shop "a # that is no remark" \\
    --limit 2
```

```yaml
# configs/shop.yaml
resources: {}
```

## A page
"""


@pytest.fixture
def page(tmp_path: Path) -> Document:
    path = tmp_path / "page.md"
    path.write_text(PAGE, "utf-8")
    return Document(path)


def test_headings_have_github_s_anchors(page: Document):
    assert page.anchors() == {"a-page", "one-two-and-more", "a-page-1"}


def test_links(page: Document):
    assert [target for target, _ in page.links()] == ["other.md#a-place"]


def test_a_block_says_which_file_it_is(page: Document):
    (block,) = page.blocks("yaml")
    assert (block.file, block.content) == ("configs/shop.yaml", "resources: {}\n")
    assert block.place.endswith("page.md:17")


def test_lines_of_blocks_and_of_the_text(page: Document):
    assert [line.text for line in lines(page)] == [
        "make demo",
        'embeddings search shop "a # that is no remark" --limit 2',
        "embeddings plan shop",
        "embeddings index drop PIPELINE",
        "embeddings models | grep voyage",
    ]


@pytest.mark.parametrize(
    ("text", "form", "run"),
    [
        ("embeddings plan shop", False, True),
        ("embeddings index drop PIPELINE", True, True),
        ('embeddings search shop "…"', True, True),
        ("EMBEDDINGS_TOKEN=$(openssl rand) embeddings serve --host 0.0.0.0", False, False),
        ("docker compose up", False, False),
        ("embeddings run shop -c mongodb/server.yaml -c embedder/voyage.yaml", False, False),
    ],
)
def test_what_is_run(text: str, form: bool, run: bool):
    line = Line(text, "page.md:1")
    assert line.is_form is form
    assert (line.not_run is None) is run
