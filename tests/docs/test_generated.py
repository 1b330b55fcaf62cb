"""docs/settings.md and docs/commands.md are what the code says today."""

import inspect

import pytest

from pipelines.framework.pipeline import EmbeddingPipeline
from tests.docs import settings
from tests.docs.write import PAGES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_what_the_code_says(path):
    assert path.read_text("utf-8") == PAGES[path](), "run `make docs`"


def test_every_setting_is_described():
    assert list(settings.undescribed()) == []


def test_every_field_of_a_pipeline_is_described():
    assert list(settings.declaration_fields()) == [*inspect.signature(EmbeddingPipeline).parameters]


def test_a_setting_shows_its_bounds_its_default_and_its_choices():
    page = settings.settings_page()
    for row in (
        "| `max_batch_chunks` | integer, at least 1 | `1000` |",
        "| `uri` | text | `{env: MONGODB_URI}` |",
        "| `engine` | `auto`, `mongodb`, `local` | `auto` |",
        "| `space` | text or null | `null` |",  # by the name that it has in YAML
        "| `deployment` | one of `server`, `embedded` | `embedded` |",
        "| `tokenizer` | text | *required* |",
    ):
        assert row in page
