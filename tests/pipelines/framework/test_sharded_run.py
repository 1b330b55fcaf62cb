"""`embeddings run` of a pipeline in shards: in order, and its numbers are those of one pipeline."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines.framework.execution import RunFailed, run
from pipelines.framework.outcome import RunOutcome
from resources.core.shards import shard_names, shard_of
from tests.failing_shards import failing
from tests.pipelines.framework.test_sums import Corpus, use
from tests.providers.server import ProviderServer
from tests.workshop import Workshop

SHARDS = 2


@pytest.fixture
def shops(
    tmp_path: Path,
    mongod_uri: str,
    openai_api: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[Workshop]]:
    """The same pipeline twice: as one, and in shards; some of it is refused by whoever may."""
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    openai_api.behaviour.poison = ["virus"]
    made, schema = [], {"$jsonSchema": {"properties": {"kind": {"enum": ["film"]}}}}
    for shards in (1, SHARDS):
        (folder := tmp_path / str(shards)).mkdir()
        name = f"run{shards}_{secrets.token_hex(4)}"
        shop = Workshop(folder, mongod_uri, name, "none", name=name, shards=shards)
        shop.configure({"embedder": {"max_batch_chunks": 5}})
        use(shop, openai_api)
        shop.client[name].create_collection("vectors", validator=schema)
        made.append(shop)
    yield made
    for shop in made:
        shop.client.drop_database(shop.database)
        shop.client.close()


TIMES = {"seconds", "requests", "retries", "run", "pipeline", "notes", "name"}
# How often a server is asked whether it is the text that is bad depends on what else is under way.
TIMES |= {"tokens", "cost_usd"}


def told(outcome: RunOutcome) -> dict[str, Any]:
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(each) for name, each in value.items() if name not in TIMES}
        if isinstance(value, list):
            return [without(each) for each in value]
        if isinstance(value, float):
            return round(value, 7)  # of money, by batch
        return value.replace(outcome.pipeline, "P") if isinstance(value, str) else value

    return without(outcome.to_json())


def runs(shop: Workshop) -> list[tuple[str, str]]:
    with dg.DagsterInstance.get() as instance:
        found = reversed(instance.get_runs())
        ours = [each for each in found if each.job_name.startswith(shop.name)]
    return [(each.job_name, each.tags.get("dagster/partition", "")) for each in ours]


def test_its_numbers_are_those_of_one_pipeline(shops: list[Workshop], openai_api: ProviderServer):
    corpus = Corpus(9)
    assert min(corpus.poison, corpus.banned, corpus.rejected) > 0
    one, many = shops
    for shop in shops:
        shop.write(corpus.rows)
    first, other = run(one.pipeline), run(many.pipeline)
    assert told(other) == told(first)
    name, names = many.name, shard_names(SHARDS)
    order = [(name, ""), *((f"{name}_shards", shard) for shard in names), (f"{name}_index", "")]
    assert runs(many) == order
    assert f"{SHARDS} of {SHARDS} shards had something to do" in other.notes[-1]
    # Entries of what MongoDB refuses are each released by their own shard alone.
    assert many.quarantine() == one.quarantine()

    # One document changes, and one goes: what MongoDB refuses is tried again by its own shards.
    good = [row for row in corpus.rows if str(row["_id"]).startswith("good")]
    changed, gone = good[1], good[2]
    changed["text"] = "another text"
    rows = [row for row in corpus.rows if row is not gone]
    for shop in shops:
        shop.write(rows)
    first, other = run(one.pipeline), run(many.pipeline)
    assert told(other) == told(first)
    assert many.quarantine() == one.quarantine()
    assert openai_api.texts_served["another text"] == 2, "by each pipeline once"
    banned = {shard_of(row["_id"], SHARDS) for row in rows if row.get("kind") == "banned"}
    touched = {shard_of(row["_id"], SHARDS) for row in (changed, gone)} | banned
    begun = [shard for job, shard in runs(many)[len(order) :] if shard]
    assert begun == [names[shard] for shard in sorted(touched)]


def test_a_failed_shard_is_named_and_the_next_run_goes_on(
    shops: list[Workshop], openai_api: ProviderServer
):
    shop = shops[1]
    texts = {f"d{n}": f"text {n}" for n in range(9)}
    shop.write([{"_id": name, "text": text, "kind": "film"} for name, text in texts.items()])

    why = r"^the shard 1-of-2, stored_vectors: no primary"
    with failing(1), pytest.raises(RunFailed, match=why):
        run(shop.pipeline)
    assert {shard_of(name, SHARDS) for name in shop.stored()} == {0}
    outcome = run(shop.pipeline)
    begun = [shard for job, shard in runs(shop) if shard]
    assert begun == ["0-of-2", "1-of-2", "1-of-2"]
    assert set(openai_api.texts_served.values()) == {1}
    assert outcome.stored.total == len(texts) == len(shop.stored())
    idle = run(shop.pipeline)
    assert (idle.embedded.embedded, idle.stored.written.changes) == (0, 0)
    assert idle.stored.total == len(texts)
