"""What a pipeline says of its assets before any run: whose they are, and what they feed on."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.about import ASSETS, CANDIDATE, source_asset
from pipelines import EmbeddingPipeline
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT
from resources.mongodb.address import shown_address
from resources.sources.collection import CollectionOrigin
from resources.sources.folder import FolderOrigin
from resources.sources.resource import SourceResource
from tests.pipelines.helpers import write_config

FILMS = {"collection": {"database": "shop", "collection": "films"}}
SECRET = "s3cret"
OURS = len([*ASSETS, CANDIDATE])


def pipeline(folder: Path, name: str = "films", /, **more: Any) -> EmbeddingPipeline:
    """One over a collection, except for what a test wants otherwise."""
    arguments = {key: more.pop(key) for key in ("owners", "tags", "deps") if key in more}
    resources: dict[str, Any] = {
        "source": {"origin": FILMS},
        "vector_store": {"database": "shop", "collection": f"{name}_vectors"},
    }
    for key, values in more.items():
        resources[key] = {**resources.get(key, {}), **values}
    config = write_config(folder / f"{name}.yaml", **resources)
    return EmbeddingPipeline(name, [config], **arguments)


def nodes(defs: dg.Definitions) -> dict[str, Any]:
    graph = defs.resolve_asset_graph()
    return {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}


def lineage(node: Any) -> dict[str, list[tuple[str, str]]]:
    found = node.metadata["dagster/column_lineage"].deps_by_column
    return {
        name: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
        for name, deps in found.items()
    }


def columns(node: Any) -> dict[str, str]:
    found = node.metadata["dagster/column_schema"].columns
    assert len({column.name for column in found}) == len(found)
    return {column.name: column.type for column in found}


def test_owners_and_tags_stand_on_every_asset(tmp_path: Path):
    made = pipeline(tmp_path, owners=["team:search", "ann@example.com"], tags={"domain": "films"})
    found = nodes(made.definitions())
    external = found.pop("shop/films")
    assert len(found) == OURS
    for node in found.values():
        assert list(node.owners) == ["team:search", "ann@example.com"]
        assert node.tags["domain"] == "films"
    # Other pipelines may feed on it, so it is nobody's.
    assert (external.group_name, list(external.owners)) == ("default", [])
    assert "domain" not in external.tags


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"owners": ["ann"]}, "owners: 'ann' is no owner to Dagster, which wants `team:NAME` or"),
        ({"owners": ["team:"]}, "owners: 'team:' is no owner"),
        ({"owners": ["a b@example.com"]}, "owners: 'a b@example.com' is no owner"),
        ({"owners": [7]}, "owners: 7 is no owner"),
        ({"owners": "team:search"}, "owners: a list belongs here, not 'team:search'"),
        ({"tags": {"a b": "c"}}, "tags: 'a b': 'c' is no tag"),
        ({"tags": {"a": "b c"}}, "tags: 'a': 'b c' is no tag"),
        ({"tags": {"a": 7}}, "tags: 'a': 7 is no tag"),
        ({"tags": ["a"]}, r"tags: a mapping belongs here, not \['a'\]"),
        ({"deps": ["raw films"]}, "deps: 'raw films' is no key that Dagster can depend on"),
        ({"deps": [7]}, "deps: 7 is no asset"),
        ({"deps": "raw"}, "deps: a list belongs here, not 'raw'"),
    ],
)
def test_what_dagster_would_not_take_is_refused_in_one_sentence(arguments: Any, sentence: str):
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        EmbeddingPipeline("films", [], **arguments)
    assert "\n" not in str(caught.value)


@dg.asset(key=["raw", "films"])
def filler() -> None: ...


@pytest.mark.parametrize(
    "dep", ["raw/films", dg.AssetKey(["raw", "films"]), dg.AssetSpec(["raw", "films"]), filler]
)
def test_a_pipeline_hangs_below_the_asset_that_fills_its_source(tmp_path: Path, dep: Any):
    made = dg.Definitions.merge(
        pipeline(tmp_path, deps=[dep]).definitions(), dg.Definitions(assets=[filler])
    )
    dg.Definitions.validate_loadable(made)
    found = nodes(made)
    assert "shop/films" not in found, "who fills it is known, so it needs no asset of its own"
    (parent,) = found["films/source_documents"].parent_keys
    assert parent == filler.key
    assert lineage(found["films/source_documents"])["text"] == [("raw/films", "text")]


def test_of_two_assets_that_fill_a_source_none_is_said_to_hold_its_columns(tmp_path: Path):
    found = nodes(pipeline(tmp_path, deps=["raw/a", "raw/b"]).definitions())
    assert len(found["films/source_documents"].parent_keys) == 2
    assert "dagster/column_lineage" not in found["films/source_documents"].metadata


ORIGINS: list[dict[str, Any]] = [
    FILMS,
    {"collection": {"database": "größe/ \t", "collection": "a.b c.📽"}},
    {"collection": {"database": "shop", "collection": "stored_vectors"}},
    {"jsonl": {"path": "configs/quickstart.jsonl"}},
    {"csv": {"path": "/mnt/my data/*.csv"}},
    {"folder": {"path": "https://example.com/a%20b/ü"}},
]


@pytest.mark.parametrize("origin", ORIGINS, ids=str)
def test_two_pipelines_over_one_source_meet_in_it(tmp_path: Path, origin: Any):
    left = pipeline(tmp_path, "left", source={"origin": origin, "carry": ["year"]})
    right = pipeline(tmp_path, "right", source={"origin": origin}, owners=["team:x"])
    apart = [nodes(each.definitions()) for each in (left, right)]
    together = dg.Definitions.merge(left.definitions("left__"), right.definitions("right__"))
    dg.Definitions.validate_loadable(together)
    found = nodes(together)
    assert len(found) == 2 * OURS + 1
    (key,) = found["left/source_documents"].parent_keys
    assert found["right/source_documents"].parent_keys == {key}
    name = key.to_user_string()
    assert apart[0][name].metadata == apart[1][name].metadata == found[name].metadata


# What stands in a name, and what Dagster makes of it; what differs there is another source.
names = st.text(st.sampled_from("aB1_-. /\\ü*[]{}'\"`é📽\n"), min_size=1, max_size=8)


@given(names, names, names, names)
def test_every_collection_has_a_key_of_its_own_that_dagster_takes(a: str, b: str, c: str, d: str):
    specs = []
    for database, collection in ((a, b), (c, d)):
        origin = CollectionOrigin(database=database, collection=collection)
        spec = source_asset(SourceResource.model_construct(origin=origin))
        assert spec is not None
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", "".join(spec.key.path))
        assert dg.AssetKey.from_user_string(spec.key.to_user_string()) == spec.key
        specs.append(spec)
    assert (specs[0].key == specs[1].key) == ((a, b) == (c, d))
    assert (specs[0] == specs[1]) == ((a, b) == (c, d))


@pytest.mark.parametrize(
    "path",
    [
        f"https://ann:{SECRET}@example.com/films?sig={SECRET}",
        f"s3://key:{SECRET}/more@bucket/films/*.jsonl",
        f"sftp://ann:{SECRET}@host/films",
    ],
)
def test_no_credentials_of_a_source_are_shown(path: str):
    # As a run gets it: out of the environment, since no file may hold it in clear.
    spec = source_asset(SourceResource.model_construct(origin=FolderOrigin(path=path)))
    assert spec is not None
    assert SECRET not in str((spec.key, spec.metadata, spec.description))


@pytest.mark.parametrize(
    "path", ["./configs/../configs/quickstart.jsonl", "{root}/configs/quickstart.jsonl"]
)
def test_a_file_is_one_asset_however_it_is_written(tmp_path: Path, path: str):
    origin = {"jsonl": {"path": path.format(root=CODE_ROOT)}}
    found = nodes(pipeline(tmp_path, source={"origin": origin}).definitions())
    assert "configs/quickstart.jsonl" in found


def test_texts_of_the_configuration_are_no_asset(tmp_path: Path):
    origin = {"texts": {"documents": ["a"]}}
    assert len(nodes(pipeline(tmp_path, source={"origin": origin}).definitions())) == OURS


def test_columns_lead_from_the_source_to_the_index(tmp_path: Path):
    carried = [f"field{n}" for n in range(40)]
    found = nodes(
        pipeline(
            tmp_path,
            source={"text": "{title}: {plot.long}", "carry": carried, "id_field": "sku",
                    "chunking": {"recursive": {}}},
            vector_store={"dtype": "int8", "rescore": "float32", "path": "v.main"},
            search_index={"filter_fields": carried, "text": {"fields": ["text", "field3"]}},
        ).definitions()
    )  # fmt: skip
    first = found["films/source_documents"]
    assert list(columns(first)) == ["_id", "text", *carried]
    assert sorted(lineage(first)["text"]) == [("shop/films", "plot.long"), ("shop/films", "title")]
    assert lineage(first)["_id"] == [("shop/films", "sku")]
    assert lineage(first)["field7"] == [("shop/films", "field7")]
    batches = lineage(found["films/embedding_batches"])
    assert batches["vector"] == [("films/source_documents", "text")]
    stored = found["films/stored_vectors"]
    assert columns(stored)["v.main"] == "vector int8"
    assert columns(stored)["v_rescore.main"] == "vector float32"
    assert {"v_lineage.main", "chunk", "source_id", *carried} <= set(columns(stored))
    assert lineage(stored)["v.main"] == [("films/embedding_batches", "vector")]
    assert lineage(stored)["field7"] == [("films/source_documents", "field7")]
    index = found["films/search_index"]
    assert columns(index)["v.main"] == "vector"
    assert columns(index)["field3"] == "filter + words"
    assert columns(index)["text"] == "words"
    assert lineage(index)["field7"] == [("films/stored_vectors", "field7")]


def test_in_place_the_columns_are_the_sources_own(tmp_path: Path):
    made = pipeline(
        tmp_path,
        source={"text": "plot", "carry": ["year", "plot"]},
        vector_store={"in_place": True, "database": "shop", "collection": "films"},
        search_index={"filter_fields": ["year", "title"]},
    )
    found = nodes(made.definitions())
    stored = found["films/stored_vectors"]
    assert list(columns(stored)) == ["_id", "plot", "year", "embedding", "embedding_lineage"]
    assert lineage(stored)["year"] == [("shop/films", "year")]
    assert stored.metadata["dagster/table_name"] == "shop.films"
    assert lineage(found["films/search_index"])["title"] == [("films/stored_vectors", "title")]


def test_llama_index_finds_carried_fields_where_its_reader_has_them(tmp_path: Path):
    made = pipeline(
        tmp_path,
        source={"carry": ["year"]},
        vector_store={"layout": "llamaindex"},
        search_index={"filter_fields": ["year"]},
    )
    found = nodes(made.definitions())
    assert lineage(found["films/search_index"])["metadata.year"] == [
        ("films/stored_vectors", "metadata.year")
    ]
    assert "metadata.year" in columns(found["films/stored_vectors"])


def test_variables_are_shown_by_name(tmp_path: Path, monkeypatch):
    for name in ("URI", "DB", "FIELD", "BATCHES"):
        monkeypatch.setenv(f"UI_{name}", f"mongodb://ann:{SECRET}@host/")
    made = pipeline(
        tmp_path,
        source={
            "origin": {"collection": {"database": {"env": "UI_DB"}, "collection": "films"}},
            "text": {"env": "UI_FIELD"},
        },
        mongodb={"deployment": {"server": {"uri": {"env": "UI_URI"}}}},
        batch_store={"url": {"env": "UI_BATCHES"}},
    )
    found = nodes(made.definitions())
    source = found["films/source_documents"]
    assert source.metadata["dagster/table_name"] == "$UI_DB.films"
    assert source.metadata["dagster/uri"] == "$UI_URI/$UI_DB.films"
    assert "text" in columns(source)
    for node in found.values():
        assert SECRET not in str((node.metadata, node.description, node.key))


raw = st.text(st.sampled_from("aZ9/?@:#%&=[]$ ü"), max_size=6)


@given(raw, raw, st.sampled_from(["mongodb", "mongodb+srv", "http", ""]), raw)
def test_no_credentials_of_a_connection_string_are_shown(left: str, right: str, scheme: str, end):
    secret = f"{left}{SECRET}{right}"
    for uri in (
        f"{scheme}://ann:{secret}@h.example:27017/{end}",
        f"{scheme}://{secret}:pw@h.example/?{end}",
        f"{scheme}://h.example/?authMechanismProperties=AWS_SESSION_TOKEN:{secret}&{end}",
        f"ann:{secret}@h.example/{end}",
    ):
        assert SECRET not in shown_address(uri)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://localhost", "mongodb://localhost"),
        ("mongodb://ann:p%40w@a:1,b:2/db?replicaSet=r", "mongodb://a:1,b:2"),
        ("mongodb+srv://ann:pw@x.mongodb.net/?w=1", "mongodb+srv://x.mongodb.net"),
        ("mongodb://[::1]:27017/", "mongodb://[::1]:27017"),
        ("$MONGODB_URI", "$MONGODB_URI"),
    ],
)
def test_where_a_connection_string_leads(uri: str, shown: str):
    assert shown_address(uri) == shown
