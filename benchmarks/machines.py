"""One Celery worker against two: two pipelines at once, with a slow provider and a static model.

    python -m benchmarks.machines [--texts 2000] [--documents 20000]

Needs Redis (else a folder is the broker) and the genuine mongod of the tests. Every worker does one
step at a time. Prints seconds from launching both runs to the end of the later one, a first run and
then one in which every text has changed; and how often each worker loaded the model and connected.
"""

import argparse
import json
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import machines, models, servers
from tests.providers.behaviour import Behaviour
from tests.providers.openai import openai_server
from tests.workshop import Workshop

NAMES = ("films", "books")


@contextmanager
def pipelines(folder: Path, model: str, latency: float | None) -> Iterator[list[Workshop]]:
    binary = servers.genuine_mongod()
    assert binary, "no genuine mongod here"
    with ExitStack() as stack:
        uri = stack.enter_context(servers.mongod(binary))
        made = []
        for name in NAMES:
            (folder / name).mkdir()
            shop = Workshop(folder / name, uri, f"bench_{secrets.token_hex(4)}", model, name)
            shop.configure({"search_index": {"engine": "local"}})
            if latency is not None:
                server = stack.enter_context(openai_server(Behaviour(key="k", latency=latency)))
                provider = {
                    "space": "text-embedding-3-small",
                    "base_url": server.url,
                    "dimensions": 64,
                    "max_texts": 10,
                    "concurrency": 4,
                }
                shop.configure({"embedder": {"provider": {"openai": provider}}})
            made.append(shop)
        yield made


def measure(workers: int, texts: int, latency: float | None, model: str) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="machines-"))
    with pipelines(folder, model, latency) as shops, machines.any_broker(folder) as broker:
        first, second = shops
        project = machines.Machines(
            folder / "project", broker, first.settings, variables={"OPENAI_API_KEY": "k"}
        )
        project.declare(second.name, second.settings)
        project.instance().dispose()  # its tables are made by one, not by both runs
        at = [project.worker(f"w{n}") for n in range(workers)]
        for worker in at:
            worker.wait_until_ready()
        seconds = []
        for version in range(2):
            for shop in shops:
                rows = [
                    {"_id": n, "text": f"{shop.name} {n} of {version}", "kind": "k"}
                    for n in range(texts)
                ]
                shop.write(rows)
            began = time.monotonic()
            runs = [project.launch(name=name) for name in NAMES]
            assert [run.wait(timeout=900) for run in runs] == [0, 0], folder
            seconds.append(round(time.monotonic() - began, 1))
        loads = [worker.loads() for worker in at]
        steps = [worker.said().count("execute_plan") // 2 for worker in at]
        project.close()
        for shop in shops:
            assert len(shop.stored()) == texts
    return {
        "workers": workers,
        "provider": "static model" if latency is None else f"{latency * 1000:g} ms a request",
        "texts of each": texts,
        "seconds": seconds,
        "steps": steps,
        "models loaded": [sum("model" in line for line in each) for each in loads],
        "connected": [sum("client" in line for line in each) for each in loads],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--documents", type=int, default=20_000)
    given = parser.parse_args()
    model = str(models.build_static_model(Path(tempfile.mkdtemp()) / "static"))
    for texts, latency in ((given.texts, 0.2), (given.documents, None)):
        for workers in (1, 2):
            print(json.dumps(measure(workers, texts, latency, model)), flush=True)


if __name__ == "__main__":
    main()
