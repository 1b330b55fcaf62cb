"""An address that sends reads to secondaries: what is kept is read where it was just written.

The replica set has one member, so that whatever asks for a secondary fails.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import ServerSelectionTimeoutError

from tests.assets.test_changed import config
from tests.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path, replica_set_uri: str, static_model: str) -> Iterator[Workshop]:
    name = f"aside_{secrets.token_hex(4)}"
    with pymongo.MongoClient(replica_set_uri) as client:
        client[name]["films"].insert_many([{"_id": n, "text": f"film {n}"} for n in range(5)])
        name_of_set = client.admin.command("hello")["setName"]
        others = f"replicaSet={name_of_set}&readPreference=secondary&serverSelectionTimeoutMS=500"
        aside = replica_set_uri.replace("directConnection=true", others)
        shop = Workshop(tmp_path, aside, name, static_model, name=name)
        shop.configure({"mongodb": {"timeout_seconds": 3}})
        with pytest.raises(ServerSelectionTimeoutError):
            shop.vectors.find_one()
        yield shop
        shop.client.close()
        client.drop_database(name)


def test_nothing_but_the_source_and_searches_is_read_from_them(shop: Workshop):
    shop.write([{"_id": n, "text": f"text {n}", "kind": "k"} for n in range(20)])
    assert shop.run().success
    shop.write([{"_id": n, "text": f"text {n % 7}", "kind": "k"} for n in range(1, 25)])
    again = shop.run()
    assert again.success, again.failures
    assert again.checks
    assert all(again.checks.values())
    assert shop.search("text 3", limit=1).hits


def test_what_a_sensor_has_heard_of_is_read_from_the_primary(shop: Workshop):
    origin = {"database": shop.database, "collection": "films"}
    shop.configure({"source": {"origin": {"collection": origin}}})
    assert 'selector "Secondary' in shop.run().failures[0]
    whole = {"source": {"config": {"changes": {"until": "row:1"}}}}
    first = shop.run(config={"resources": whole})
    assert first.success, first.failures
    assert shop.run(config=config(1, 2, number=2)).success
