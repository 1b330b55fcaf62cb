"""An address that sends reads to secondaries: nothing is missed, and what is kept is read anew.

In a replica set of one member whatever asks for a secondary fails; in one of two the other lags.
"""

import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pymongo
import pytest
from pymongo import ReadPreference
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from tests.assets.test_changed import config
from tests.servers import free_port, genuine_mongod, replica_set, running
from tests.workshop import Workshop


@contextmanager
def sent_aside(folder: Path, uri: str, model: str) -> Iterator[Workshop]:
    name = f"aside_{secrets.token_hex(4)}"
    with pymongo.MongoClient(uri) as client:
        client[name]["films"].insert_many([{"_id": n, "text": f"film {n}"} for n in range(5)])
        its_name = client.admin.command("hello")["setName"]
        others = f"replicaSet={its_name}&readPreference=secondary&serverSelectionTimeoutMS=500"
        aside = uri.replace("directConnection=true", others)
        shop = Workshop(folder, aside, name, model, name=name)
        with closing(shop.client):
            yield shop
        client.drop_database(name)


@pytest.fixture
def shop(tmp_path: Path, replica_set_uri: str, static_model: str) -> Iterator[Workshop]:
    with sent_aside(tmp_path, replica_set_uri, static_model) as shop:
        shop.configure({"mongodb": {"timeout_seconds": 3}})
        with pytest.raises(ServerSelectionTimeoutError):
            shop.vectors.find_one()
        yield shop


@pytest.fixture
def lagging(tmp_path: Path, static_model: str) -> Iterator[tuple[Workshop, pymongo.MongoClient]]:
    """Over two servers, and the one that follows the other."""
    binary = genuine_mongod()
    if binary is None:
        pytest.skip("no genuine mongod for this machine")
    port = free_port()
    with replica_set(binary) as uri, tempfile.TemporaryDirectory(prefix="lagging-") as folder:
        command = [str(binary), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1"]
        command += ["--wiredTigerCacheSizeGB", "0.5", "--quiet", "--replSet", "alone"]
        command += ["--setParameter", "enableTestCommands=1"]
        with running(command, port) as other, pymongo.MongoClient(uri) as client:
            known = client.admin.command("replSetGetConfig")["config"]
            known["version"] += 1
            member = {"_id": 1, "host": f"127.0.0.1:{port}", "priority": 0, "votes": 0}
            known["members"].append(member)
            client.admin.command("replSetReconfig", known)
            with pymongo.MongoClient(other) as there:
                until = time.monotonic() + 120
                while not _follows(there):
                    assert time.monotonic() < until, "it does not follow"
                    time.sleep(0.2)
                with sent_aside(tmp_path, uri, static_model) as shop:
                    yield shop, there


def _follows(client: pymongo.MongoClient) -> bool:
    try:
        return bool(client.admin.command("hello").get("secondary"))
    except PyMongoError:  # it ends connections as its state changes
        return False


@contextmanager
def standing_still(server: pymongo.MongoClient, seconds: float) -> Iterator[None]:
    """One that follows, as it was: for so long, or less."""
    stop = {"configureFailPoint": "rsSyncApplyStop"}
    server.admin.command({**stop, "mode": "alwaysOn"})
    timer = threading.Timer(seconds, server.admin.command, [{**stop, "mode": "off"}])
    timer.start()
    yield
    timer.join()


def test_nothing_but_the_source_and_searches_is_read_from_them(shop: Workshop):
    shop.write([{"_id": n, "text": f"text {n}", "kind": "k"} for n in range(20)])
    assert shop.run().success
    shop.write([{"_id": n, "text": f"text {n % 7}", "kind": "k"} for n in range(1, 25)])
    again = shop.run()
    assert again.success, again.failures
    assert again.checks
    assert all(again.checks.values())
    with pytest.raises(Exception, match=r"selector .*Secondary"):
        shop.search("text 3", limit=1)


@pytest.mark.proof
def test_what_a_secondary_does_not_have_yet_is_waited_for(
    lagging: tuple[Workshop, pymongo.MongoClient],
):
    shop, other = lagging
    primary = shop.client.get_database(shop.database, read_preference=ReadPreference.PRIMARY)
    films, vectors = primary["films"], primary["vectors"]
    origin = {"database": shop.database, "collection": "films"}
    shop.configure({"source": {"origin": {"collection": origin}}})
    assert shop.run().success
    for n in range(3):
        with standing_still(other, 3):
            films.insert_one({"_id": f"new {n}", "text": f"a new film {n}"})
            films.update_one({"_id": n}, {"$set": {"text": f"another film {n}"}})
            films.delete_one({"_id": n + 2})
            named = [f"new {n}", n, n + 2]
            for run_config in (config(*named), None) if n else (None,):
                run = shop.run(config=run_config)
                assert run.success, run.failures
                wanted = {row["_id"]: row["text"] for row in films.find()}
                assert {row["_id"]: row["text"] for row in vectors.find()} == wanted
