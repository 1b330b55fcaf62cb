import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace, endpoint
from resources.embedders.openai import OpenAIProvider
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.embedders.voyage import VoyageProvider

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


# Servers.

IDS = [
    (OpenAIProvider(api_key="k"), "text-embedding-3-small-1536-ae6dec34"),
    (OpenAIProvider(api_key="k", dimensions=256), "text-embedding-3-small-256-2e16d7ea"),
    (VoyageProvider(api_key="k"), "voyage-4-1024-db503439"),
    (
        VoyageProvider(api_key="k", model="voyage-3.5", output_dtype="ubinary"),
        "voyage-3-5-1024-39c6e848",
    ),
    (
        VoyageProvider(api_key="k", model="voyage-4-lite", base_url="https://ai.mongodb.com/v1"),
        "voyage-4-1024-db503439",
    ),
]


@pytest.mark.parametrize(("provider", "name"), IDS)
def test_ids_stay_what_they_were_before_servers_were_told_apart(provider, name: str):
    assert provider.space().id == name


def openai(**settings) -> EmbeddingSpace:
    return OpenAIProvider(api_key="k", **settings).space()


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://api.openai.com/v1/",
        "HTTPS://API.OpenAI.com:443/v1",
        " https://user:secret@api.openai.com//v1/?a=b#c",
    ],
)
def test_openai_itself_is_no_other_server_however_it_is_written(url: str):
    assert openai(base_url=url) == openai()


def test_a_model_of_the_same_name_on_another_server_is_another_space():
    one, other = (openai(base_url=f"http://{host}:8080/v1") for host in ("one", "other"))
    assert len({one.id, other.id, openai().id}) == 3
    assert "http://one:8080/v1" in one.difference(other)
    assert "http://other:8080/v1" in one.difference(other)
    assert one.without_endpoint() == openai()
    assert openai().without_endpoint() == openai()


def test_the_sdks_own_variable_names_the_server_too(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://one:8080/v1")
    assert openai() == openai(base_url="http://one:8080/v1")


def test_a_gateway_that_renames_a_model_shares_its_space_if_it_says_so():
    gateway = {"base_url": "https://gateway/v1", "model": "team/embed-small"}
    assert openai(**gateway, space="text-embedding-3-small") == openai()
    shrunk = openai(**gateway, space="text-embedding-3-small", dimensions=256)
    assert shrunk == openai(dimensions=256)
    with pytest.raises(ConfigurationError, match="say it with `dimensions`"):
        openai(**gateway)


def test_the_catalogue_may_name_the_space_of_an_openai_model(monkeypatch, tmp_path):
    models = tmp_path / "models.yaml"
    models.write_text(
        "models:\n  openai/twin: {space: text-embedding-3-small, dimensions: [1536]}\n"
    )
    monkeypatch.setenv("EMBEDDINGS_MODELS", str(models))
    assert openai(model="twin") == openai()


def test_a_local_model_may_share_the_space_of_another(static_model):
    def space(**settings) -> EmbeddingSpace:
        return SentenceTransformersProvider(model=static_model, **settings).space()

    assert space(space="mine") == space(space="mine")
    assert space(space="mine").model == "mine"
    assert space(space="mine") != space()


HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5})?", fullmatch=True)
PATHS = st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True), max_size=3)


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    port=st.one_of(st.none(), st.integers(1, 65535)),
    path=PATHS,
    slashes=st.integers(0, 3),
    user=st.sampled_from(["", "me:secret@"]),
    query=st.sampled_from(["", "?key=secret", "#top"]),
)
def test_spellings_of_one_address_are_one(scheme, host, port, path, slashes, user, query):
    at = f"{host}:{port}" if port else host
    plain = endpoint("/".join([f"{scheme}://{at}", *path]))
    other = "/".join([f"{scheme.upper()}://{user}{at.upper()}", *path]) + "/" * slashes + query
    assert endpoint(other) == plain
    assert endpoint(plain) == plain
    assert "secret" not in plain
    assert endpoint(plain + "/more") != plain


def test_an_address_that_is_none_is_said():
    with pytest.raises(ConfigurationError, match="is no address of a server"):
        openai(base_url="http://host:port/v1")
