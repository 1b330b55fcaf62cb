"""How near remote embedders come to what latency and limits allow; the best is computed.

Run with `python -m benchmarks.remote`, on a machine that does nothing else. Both providers' SDKs
against servers on this machine that speak their protocols: requests with a latency of 200 ms, eight
at once; and a quota of 400 tokens a second that the server does not tell, only refuse by.
"""

import argparse
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from resources.embedders.openai import OpenAIProvider
from resources.embedders.resource import EmbedderResource
from resources.embedders.voyage import VoyageProvider
from tests.providers.behaviour import Quota
from tests.providers.openai import openai_server
from tests.providers.server import ProviderServer
from tests.providers.voyage import voyage_server

KINDS: dict[str, tuple[Any, type]] = {
    "voyage": (voyage_server, VoyageProvider),
    "openai": (openai_server, OpenAIProvider),
}


def opened(server: ProviderServer, kind: type, **settings: Any) -> AbstractContextManager[Any]:
    given = {"api_key": server.behaviour.key, "base_url": server.url, "dimensions": 256}
    return EmbedderResource(provider=kind(**given, **settings)).open()


def latency(server: ProviderServer, kind: type) -> float:
    """Share of the requests that could have been answered in the time it took."""
    seconds, concurrency, requests = 0.2, 8, 128
    server.behaviour.latency = seconds
    batches = [(n, [f"{n} {row}" for row in range(4)]) for n in range(requests)]
    with opened(server, kind, concurrency=concurrency) as embedder:
        embedder.embed(["warm"], input_type="query")
        start = time.monotonic()
        assert len(dict(embedder.embed_batches(batches))) == requests
        return requests / concurrency * seconds / (time.monotonic() - start)


def quota(server: ProviderServer, kind: type) -> float:
    """Share of the quota that was used."""
    texts = [f"{number:040d}" for number in range(240)]
    a_second, total = 400, 240 * 10
    server.headers = dict  # no limits in its replies
    with opened(server, kind, max_texts=2) as embedder:
        embedder.embed(["warm"], input_type="query")
        server.behaviour.quota = Quota(tokens=a_second, window=1)
        server.behaviour.latency = 0.05
        start = time.monotonic()
        embedder.embed(texts, input_type="document")
        # the bucket is full at the start
        return (total - a_second) / a_second / (time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    table = Table(title=f"share of the best, {arguments.repeats} runs")
    for column in ("", "provider", "median", "least", "most"):
        table.add_column(column, justify="left" if column in ("", "provider") else "right")
    for measure in (latency, quota):
        for name, (serve, kind) in KINDS.items():
            shares = []
            for _ in range(arguments.repeats):
                with serve() as server:
                    shares.append(measure(server, kind))
            figures = (float(np.median(shares)), min(shares), max(shares))
            table.add_row(measure.__name__, name, *(f"{share:.2f}" for share in figures))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
