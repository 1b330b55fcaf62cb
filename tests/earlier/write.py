"""Write down what this version of the code leaves of a pipeline: `python write.py FOLDER`.

Run in the checkout of a version, with the genuine mongod; what later versions find is kept beside
this file, so that they go on being able to: `left/` is of the commit fd141d7, the last before a
pipeline had more than one space.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from bson import json_util

from tests import servers
from tests.providers.behaviour import Behaviour
from tests.providers.openai import openai_server
from tests.workshop import Workshop

DATABASE, FOLDER = "the_database", "/the/folder"
"""Names that stand in what is written for those that a test chooses."""
REFUSED = "unspeakable"
DOCUMENTS = [
    *({"_id": n, "text": f"text {n} of {n % 5}", "kind": f"k{n % 3}"} for n in range(12)),
    {"_id": "refused", "text": f"an {REFUSED} text", "kind": "k0"},
    {"_id": "without", "kind": "k1"},
]


def settings(url: str) -> dict[str, dict[str, object]]:
    provider = {"space": "text-embedding-3-small", "base_url": url, "dimensions": 16}
    return {"embedder": {"provider": {"openai": provider}, "max_batch_chunks": 5}}


def write(target: Path, folder: Path, uri: str) -> None:
    os.environ["OPENAI_API_KEY"] = "test-key"
    with openai_server(Behaviour(poison=[REFUSED])) as server:
        shop = Workshop(folder, uri, DATABASE, "none")
        shop.configure(settings(server.url))
        shop.write(DOCUMENTS)
        done = shop.run()
        assert done.success, done.failures
        assert done.stored_vectors["vectors stored"] == 12, done.metadata
    database = shop.client[DATABASE]
    content = {
        name: list(database[name].find().sort("_id", 1))
        for name in sorted(database.list_collection_names())
    }
    text = json_util.dumps(content, json_options=json_util.CANONICAL_JSON_OPTIONS, indent=1)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "database.json").write_text(text.replace(str(folder), FOLDER) + "\n", "utf-8")
    shutil.copytree(folder / "batch_store", target / "batch_store")


if __name__ == "__main__":
    binary = servers.genuine_mongod()
    assert binary
    with tempfile.TemporaryDirectory() as folder, servers.mongod(binary) as uri:
        write(Path(sys.argv[1]), Path(folder), uri)
