"""YAML run configs: every file under configs/, and what is wrong with those that are not."""

from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.framework.catalog import missing_variables, unset_variables
from pipelines.framework.pipeline import RESOURCES, EmbeddingPipeline
from pipelines.framework.run_config import (
    CONFIGS,
    build_resources,
    merge,
    read_run_config,
    resource_values,
    with_defaults,
)
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT
from resources.embedders.resource import EmbedderResource
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.embedders.voyage import VoyageProvider
from resources.search_index.resource import SearchIndexResource

NO_RUN_CONFIG = {"models.yaml"}  # the model catalogue; see test_catalogue.py
FILES = sorted(
    path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml") if path.name not in NO_RUN_CONFIG
)
SECRETS = ("MONGODB_URI", "VOYAGE_API_KEY", "OPENAI_API_KEY")


@pytest.fixture(autouse=True)
def _secrets(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, f"test-{name.lower()}")


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_is_a_run_config_and_makes_resources(file):
    content = yaml.safe_load((CONFIGS / file).read_text("utf-8"))
    base = "quickstart.yaml" if "source" not in content["resources"] else file
    pipeline = EmbeddingPipeline(name="test", configs=[base, file])
    job = pipeline.definitions().resolve_job_def("test")
    assert dg.validate_run_config(job, content)
    resources = {key: r.process_config_and_initialize() for key, r in pipeline.resources().items()}
    assert set(resources) == set(RESOURCES)


@pytest.mark.parametrize("folder", ["embedder", "mongodb", "rerank"])
def test_fragments_of_one_folder_choose_one_thing_only(folder):
    for path in (CONFIGS / folder).glob("*.yaml"):
        assert list(read_run_config(path)["resources"]) == [folder]


def write(tmp_path: Path, text: str, name: str = "bad.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


EMBEDDER = "resources: {embedder: {config: {provider: "
BAD = {
    "not yaml": ("resources: {a", r"bad.yaml, line 1: this is not YAML"),
    "a list": ("- 1", "a run config is a mapping"),
    "unknown top": ("resource: {}", r"unknown key 'resource'; allowed: .*resources"),
    "unknown resource": (
        "resources: {embeder: {}}",
        r"resources: unknown key 'embeder'; .*embedder",
    ),
    "unknown key": (
        "resources: {vector_store: {config: {colection: x}}}",
        r"resources.vector_store.config: unknown key 'colection'; allowed: .*collection",
    ),
    "config forgotten": (
        "resources: {vector_store: {path: x}}",
        r"resources.vector_store: unknown key 'path'; allowed: config",
    ),
    "wrong type": (
        "resources: {source: {config: {limit: many}}}",
        r"resources.source.config.limit: .*integer.*'many'",
    ),
    "number as text": ("resources: {source: {config: {limit: '50'}}}", "limit: .*integer"),
    "out of range": (
        "resources: {embedder: {config: {max_batch_chunks: 0}}}",
        r"max_batch_chunks: .*greater than or equal to 1, not 0",
    ),
    "not one of": (
        "resources: {search_index: {config: {similarity: dot}}}",
        r"similarity: .*'cosine', 'dotProduct' or 'euclidean', not 'dot'",
    ),
    "unknown provider": (
        EMBEDDER + "{voyager: {}}}}}",
        r"provider: unknown key 'voyager'; allowed: openai, sentence_transformers, voyage",
    ),
    "two providers": (EMBEDDER + "{voyage: {}, openai: {}}}}}", "choose exactly one of"),
    "no provider": (EMBEDDER + "{}}}}", "choose exactly one of"),
    "provider as text": (EMBEDDER + "voyage}}}", "a mapping belongs here, not 'voyage'"),
    "inside a provider": (
        EMBEDDER + "{sentence_transformers: {batchsize: 3}}}}}",
        r"provider.sentence_transformers: unknown key 'batchsize'; allowed: .*batch_size",
    ),
    "the tag itself": (EMBEDDER + "{voyage: {kind: voyage}}}}}", "unknown key 'kind'"),
    "environment for a number": (
        "resources: {source: {config: {limit: {env: LIMIT}}}}",
        "only a text can come from an environment variable",
    ),
    "a validator of ours": (
        "resources: {vector_store: {config: {path: _id}}}",
        r"resources.vector_store.config.path: path '_id' is taken",
    ),
    "inside a block": (
        "resources: {search_index: {config: {text: {analyser: x}}}}",
        r"search_index.config.text: unknown key 'analyser'; allowed: analyzer, fields",
    ),
    "a block as text": (
        "resources: {search_index: {config: {text: 'yes'}}}",
        r"search_index.config.text: a mapping belongs here, not 'yes'",
    ),
    "item of a list": (
        "resources: {source: {config: {carry: [a, 1]}}}",
        r"source.config.carry.1: .*string, not",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_mistake_is_named_with_its_file_and_path(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        resource_values(["quickstart.yaml", path], RESOURCES)
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigurationError, match=r"there is no run config nowhere\.yaml"):
        read_run_config("nowhere.yaml")


def test_a_folder_is_no_run_config(tmp_path):
    with pytest.raises(ConfigurationError, match=f"the run config {tmp_path} cannot be read"):
        read_run_config(tmp_path)


def test_later_files_win_and_mappings_merge():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merge(base, {"a": {"c": [3]}, "e": 2}) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


# --- overriding one key keeps all the others, whatever way a run is launched


@dg.asset
def seen(embedder: EmbedderResource) -> dg.MaterializeResult:
    provider = embedder.provider
    return dg.MaterializeResult(
        metadata={
            "kind": provider.kind,
            "model": provider.model,
            "batch": embedder.max_batch_chunks,
        }
    )


VALUES = {
    "max_batch_chunks": 77,
    "provider": {"voyage": {"model": "voyage-4-lite", "api_key": {"env": "VOYAGE_API_KEY"}}},
}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({}, ("voyage", "voyage-4-lite", 77)),
        ({"max_batch_chunks": 5}, ("voyage", "voyage-4-lite", 5)),
        ({"provider": {"voyage": {"dimensions": 256}}}, ("voyage", "voyage-4-lite", 77)),
        ({"provider": {"openai": {}}}, ("openai", "text-embedding-3-small", 77)),
    ],
    ids=["nothing", "a plain key", "within the chosen variant", "another variant"],
)
def test_overriding_one_key_keeps_the_others(override, expected):
    resource = with_defaults(EmbedderResource, VALUES)()
    config = {"resources": {"embedder": {"config": override}}} if override else None
    result = dg.materialize([seen], resources={"embedder": resource}, run_config=config)
    (event,) = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert tuple(metadata[name].value for name in ("kind", "model", "batch")) == expected


ENGLISH = {"text": {"analyzer": "lucene.english"}}


@dg.asset
def searched(search_index: SearchIndexResource) -> dg.MaterializeResult:
    text = search_index.text
    return dg.MaterializeResult(
        metadata={"text": f"{text.analyzer} {text.fields}" if text else "none"}
    )


@pytest.mark.parametrize(
    ("values", "override", "expected"),
    [
        ({}, {}, "none"),
        ({}, {"text": {}}, "lucene.standard []"),
        ({"text": {}}, {}, "lucene.standard []"),
        (ENGLISH, {}, "lucene.english []"),
        (ENGLISH, {"name": "other"}, "lucene.english []"),
        (ENGLISH, {"text": {"fields": ["a"]}}, "lucene.english ['a']"),
        (ENGLISH, {"text": None}, "none"),
    ],
)
def test_overriding_one_key_of_a_block_keeps_the_others(values, override, expected):
    resource = with_defaults(SearchIndexResource, values)()
    assert (resource.text is None) == ("text" not in values)
    config = {"resources": {"search_index": {"config": override}}} if override else None
    result = dg.materialize([searched], resources={"search_index": resource}, run_config=config)
    (event,) = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["text"].value == expected


def test_blocks_of_several_files_merge_and_null_leaves_one_out(tmp_path):
    first = write(tmp_path, "resources: {search_index: {config: {text: {analyzer: a}}}}", "1.yaml")
    second = write(tmp_path, "resources: {search_index: {config: {text: {fields: [b]}}}}", "2.yaml")
    found = resource_values([first, second], RESOURCES)["search_index"]
    assert found == {"text": {"analyzer": "a", "fields": ["b"]}}
    none = write(tmp_path, "resources: {search_index: {config: {text: null}}}", "3.yaml")
    found = resource_values([first, none], RESOURCES)["search_index"]
    assert found == {"text": None}
    assert with_defaults(SearchIndexResource, found)().text is None


def test_a_subclass_keeps_descriptions_and_constraints():
    resource = with_defaults(EmbedderResource, VALUES)
    field = resource.model_fields["max_batch_chunks"]
    assert field.description == EmbedderResource.model_fields["max_batch_chunks"].description
    with pytest.raises(ValueError, match="greater than or equal"):
        resource(max_batch_chunks=0)


def test_a_secret_is_a_reference_until_a_run_needs_it():
    resource = build_resources(
        resource_values(["quickstart.yaml", "embedder/voyage.yaml"], RESOURCES), RESOURCES
    )["embedder"]
    assert isinstance(resource.provider, VoyageProvider)
    assert "test-voyage" not in repr(resource)
    schema = resource.get_resource_definition().config_schema
    assert "test-voyage" not in repr(schema.config_type.__dict__)


def test_unset_variables_are_found_wherever_they_stand(monkeypatch):
    monkeypatch.delenv("VOYAGE_API_KEY")
    resources = build_resources(
        resource_values(
            ["quickstart.yaml", "embedder/voyage.yaml", "mongodb/server.yaml"], RESOURCES
        ),
        RESOURCES,
    )
    unset = {key: unset_variables(resource) for key, resource in resources.items()}
    assert unset.pop("embedder") == ["VOYAGE_API_KEY"]
    assert not any(unset.values())


def test_a_rerankers_key_is_missed_only_where_one_is_chosen(monkeypatch):
    monkeypatch.delenv("VOYAGE_API_KEY")
    base = ["quickstart.yaml", "embedder/minilm.yaml", "mongodb/embedded.yaml"]
    pipeline = EmbeddingPipeline(name="p", configs=base)
    assert missing_variables(pipeline) == {}
    assert missing_variables(pipeline, ["rerank/voyage.yaml"]) == {"VOYAGE_API_KEY": "rerank"}
    for other in ("none", "minilm", "mongodb"):
        chosen = ["rerank/voyage.yaml", f"rerank/{other}.yaml"]
        assert missing_variables(pipeline, chosen) == {}, "a later file wins"


def test_another_variant_in_a_later_file_replaces_the_one_before():
    values = resource_values(
        ["quickstart.yaml", "embedder/minilm.yaml", "embedder/openai.yaml"], RESOURCES
    )
    assert list(values["embedder"]["provider"]) == ["openai"]


def test_the_default_provider_is_local():
    assert isinstance(EmbedderResource().provider, SentenceTransformersProvider)


def test_an_environment_has_its_say_between_a_pipelines_files_and_a_runs(tmp_path, monkeypatch):
    def file(name: str, **store: str) -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump({"resources": {"vector_store": {"config": store}}}), "utf-8")
        return str(path)

    own = file("own.yaml", database="own", collection="own", path="own")
    everywhere = file("everywhere.yaml", database="everywhere", collection="everywhere")
    run = file("run.yaml", database="run")
    pipeline = EmbeddingPipeline(name="p", configs=[own])
    monkeypatch.setenv("EMBEDDINGS_CONFIGS", f" {everywhere} ,")
    found = pipeline.values([run])["vector_store"]
    assert found == {"database": "run", "collection": "everywhere", "path": "own"}


def test_compose_brings_up_search_nodes_and_the_ui():
    compose = yaml.safe_load((CODE_ROOT / "compose.yaml").read_text("utf-8"))
    mongodb, dagster = compose["services"]["mongodb"], compose["services"]["dagster"]
    assert mongodb["image"] == "mongodb/mongodb-atlas-local:preview"
    assert dagster["environment"]["EMBEDDINGS_CONFIGS"] == "mongodb/server.yaml"
    copied = {
        word
        for line in (CODE_ROOT / "Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY")
        for word in line.split()[1:-1]
    }
    assert all((CODE_ROOT / name).exists() for name in copied)
    packages = {"pipelines", "assets", "resources", "configs", "workspace.yaml", "setup.py"}
    assert packages <= copied
