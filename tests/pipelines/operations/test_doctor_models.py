"""`doctor` on the model: what the catalogue knows, and what who gives it out says, if asked."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations import doctor
from pipelines.operations.doctor.finding import Finding, explained
from pipelines.operations.doctor.models import ask, look_up
from tests.providers.openai import OpenAIServer, openai_server
from tests.providers.voyage import VoyageServer

KEYS = ["OPENAI_API_KEY", "VOYAGE_API_KEY"]


def pipeline(folder: Path, provider: dict[str, Any]) -> EmbeddingPipeline:
    file = folder / "own.yaml"
    content = {"resources": {"embedder": {"config": {"provider": provider}}}}
    file.write_text(yaml.safe_dump(content), "utf-8")
    return EmbeddingPipeline(name="p", configs=["quickstart.yaml", "mongodb/embedded.yaml", file])


def looked_up(folder: Path, provider: dict[str, Any]) -> Finding:
    with open_pipeline(pipeline(folder, provider), without=KEYS) as o:
        return explained("catalogue", o, look_up)


def asked(folder: Path, provider: dict[str, Any]) -> Finding:
    with open_pipeline(pipeline(folder, provider)) as o:
        return explained("online", o, ask)


@pytest.mark.parametrize(
    ("provider", "state", "words"),
    [
        ({"voyage": {"model": "voyage-4"}}, "ok", "voyage/voyage-4, active"),
        ({"voyage": {"model": "voyage-4-lrage"}}, "note", "voyage/voyage-4-lrage is not in it"),
        ({"voyage": {"model": "voyage-3.5"}}, "note", "is legacy, to be deprecated on 2027-06-01"),
        ({"openai": {"model": "nobody", "dimensions": 8}}, "note", "price, width and limits"),
        ({"openai": {"model": "renamed", "space": "text-embedding-3-small"}}, "ok", "renamed"),
        ({"sentence_transformers": {"model": "who/knows"}}, "note", "limits and prompts are not"),
    ],
)
def test_what_the_catalogue_knows(tmp_path: Path, provider: dict[str, Any], state: str, words: str):
    found = looked_up(tmp_path, provider)
    assert found.state == state
    assert words in found.text


def test_openai_is_asked_for_the_model(
    tmp_path: Path, openai_api: OpenAIServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)

    def said(model: str, **more: Any) -> Finding:
        settings = {"model": model, "base_url": openai_api.url, "dimensions": 8, **more}
        return asked(tmp_path, {"openai": settings})

    found = said("text-embedding-3-small")
    assert (found.state, found.text) == ("ok", "127.0.0.1 has text-embedding-3-small")
    found = said("text-embedding-3-smal")
    assert (found.state, found.text) == ("problem", "127.0.0.1 has no model text-embedding-3-smal")
    assert "it has: text-embedding-3-large, text-embedding-3-small" in found.fix
    assert openai_api.requests == [], "nothing is embedded, so nothing costs"
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    found = said("text-embedding-3-small")
    assert found.state == "problem"
    assert "it refuses the API key (401)" in found.fix
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    openai_api.behaviour.fail_next("hang", path="/models")
    assert "no answer in time" in said("text-embedding-3-small", timeout_seconds=0.3).fix


@pytest.mark.parametrize(
    ("pages", "model", "state"),
    [("list", "BAAI/bge-m3", "ok"), ("list", "bge", "problem"), ("none", "bge", "note")],
)
def test_servers_that_speak_its_api_have_fewer_pages(
    tmp_path: Path, pages: str, model: str, state: str, monkeypatch: pytest.MonkeyPatch
):
    with openai_server(models={"BAAI/bge-m3": 1024}) as server:
        server.model_pages = pages
        monkeypatch.setenv("OPENAI_API_KEY", server.behaviour.key)
        settings = {"model": model, "base_url": server.url, "dimensions": 1024}
        assert asked(tmp_path, {"openai": settings}).state == state


def test_voyage_is_asked_with_one_text_and_the_price_is_said(
    tmp_path: Path, voyage_api: VoyageServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)

    def said(model: str, **more: Any) -> Finding:
        settings = {"model": model, "base_url": voyage_api.url, **more}
        return asked(tmp_path, {"voyage": settings})

    found = said("voyage-4-lite")
    assert found.state == "ok"
    (request,) = voyage_api.requests
    assert request.texts == ["a"]
    assert f"asking cost one text (tokens: {request.tokens}, under $0.0001)" in found.text
    found = said("voyage-9")
    assert found.state == "problem"
    assert "voyage-9" in found.text + found.fix, found
    billed = [each for each in voyage_api.requests if each.billed]
    assert len(billed) == 1, "what is refused costs nothing"
    assert len(voyage_api.requests) < 5, "it is not asked again and again"
    voyage_api.behaviour.fail_next(*["hang"] * 4)
    assert said("voyage-4", timeout_seconds=0.3).state == "problem"


def test_a_model_on_disk_needs_no_hub(
    tmp_path: Path, static_model: str, monkeypatch: pytest.MonkeyPatch
):
    found = asked(tmp_path, {"sentence_transformers": {"model": static_model}})
    assert (found.state, found.text) == ("ok", f"{static_model} is a folder on this machine")
    packaged = {"model": "sentence-transformers/all-MiniLM-L6-v2"}
    assert "package" in asked(tmp_path, {"sentence_transformers": packaged}).text
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = asked(tmp_path, {"sentence_transformers": {"model": "who/knows"}})
    assert found.state == "problem"
    assert "HF_HUB_OFFLINE" in found.text
    assert asked(tmp_path, {"sentence_transformers": {"model": "a b"}}).state == "problem"


def test_nobody_is_asked_without_being_told_to(
    tmp_path: Path, openai_api: OpenAIServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    settings = {"model": "text-embedding-3-small", "base_url": openai_api.url}
    made = pipeline(tmp_path, {"openai": settings})
    topics = [found.topic for found in doctor.examine(made)]
    assert "catalogue" in topics
    assert "online" not in topics
    assert openai_api.calls == []
    states = {found.topic: found.state for found in doctor.examine(made, online=True)}
    assert states["online"] == "ok"
