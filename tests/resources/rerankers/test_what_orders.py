"""What stands for the order that a reranker gives: another wherever a setting or the model is."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from resources.rerankers.resource import RerankResource
from tests.models import build_cross_encoder


def reading(**settings: Any) -> str:
    more = {name: settings.pop(name) for name in ("candidates",) if name in settings}
    (kind,) = settings
    return RerankResource.model_validate({"provider": {kind: settings[kind]}, **more}).reading()


@pytest.mark.parametrize(
    ("kind", "settings", "other"),
    [
        ("voyage", {"model": "rerank-2.5"}, {"model": "rerank-2.5-lite"}),
        ("voyage", {"truncate": True}, {"truncate": False}),
        ("voyage", {}, {"base_url": "https://proxy.example/v1"}),
        ("mongodb", {"model": "rerank-2.5"}, {"model": "rerank-2.5-lite"}),
    ],
)
def test_another_setting_is_another_order(kind: str, settings: dict, other: dict):
    key = {} if kind == "mongodb" else {"api_key": "secret"}
    mine = reading(**{kind: settings | key})
    assert mine == reading(**{kind: settings | key})
    assert mine != reading(**{kind: other | key})
    assert mine != reading(**{kind: settings | key}, candidates=7)


def test_another_key_is_not():
    assert reading(voyage={"api_key": "a"}) == reading(voyage={"api_key": "b"})


def test_other_weights_in_the_same_folder_are_another_order(tmp_path: Path):
    folder = tmp_path / "reader"
    build_cross_encoder(folder)
    chosen = {"model": str(folder)}
    before = reading(sentence_transformers=chosen)
    assert before != reading(sentence_transformers={**chosen, "max_tokens": 16})
    shutil.rmtree(folder)
    build_cross_encoder(folder, constant=True)
    assert before != reading(sentence_transformers=chosen)
