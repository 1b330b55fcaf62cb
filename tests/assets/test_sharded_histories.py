"""Whatever happens to a pipeline in shards, the store ends as that of one in no shards would.

Steps of runs without Dagster around them, on a real server: a plan, then shards in any order, some
killed in the middle, some run twice, their number another one every time. Nothing is embedded twice
beyond the batch in flight, and what is carried out is of one plan.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from assets.work.comparing import plan_work
from assets.work.embedding import embed
from assets.work.opened import Opened
from assets.work.storing import store
from pipelines.framework.catalog import open_pipeline
from resources.core.vectors import from_bson
from tests.workshop import Workshop

Ending = Literal["whole", "no batch", "a batch", "nothing stored", "twice"]


class Killed(BaseException):
    pass


@dataclass(frozen=True)
class Step:
    """A plan of so many shards over these documents, and what becomes of its shards, in order."""

    documents: Mapping[str, int]
    shards: int
    endings: Sequence[tuple[int, Ending]]


DOCUMENTS = st.dictionaries(st.sampled_from([f"d{n}" for n in range(9)]), st.integers(0, 6))
ENDINGS = st.sampled_from(["whole", "no batch", "a batch", "nothing stored", "twice"])
STEPS = st.builds(
    Step,
    DOCUMENTS,
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 3), ENDINGS), max_size=4),
)


@dataclass
class Shop:
    """One pipeline, opened for every run anew."""

    workshop: Workshop
    runs: int = 0

    @contextmanager
    def at_work(self, shards: int, shard: int | None = None) -> Iterator[Opened]:
        self.runs += 1
        pipeline = replace(self.workshop.pipeline, shards=shards)
        with open_pipeline(pipeline, run=f"run-{self.runs}") as opened:
            opened.shard = shard
            with opened.main.work():
                yield opened.main

    def plan(self, documents: Mapping[str, int], shards: int) -> None:
        self.workshop.write([{"_id": name, "text": f"text {n}"} for name, n in documents.items()])
        with self.at_work(shards) as o:
            plan_work(o)

    def carry_out(self, shards: int, shard: int, ending: Ending = "whole") -> None:
        try:
            with self.at_work(shards, shard if shards > 1 else None) as o:
                _kill(o, ending)
                embed(o)
                if ending == "nothing stored":
                    raise Killed
                store(o)
        except Killed:
            return
        if ending == "twice":
            self.carry_out(shards, shard)

    def batched(self) -> list[str]:
        """The texts of all batches, by hash: as often as they were embedded, or copied."""
        with open_pipeline(self.workshop.pipeline) as o:
            names = o.batches.batches(o.space.id)
            return sorted(text for name in names for text in o.batches.texts(o.space.id, name))

    def vectors(self) -> dict[str, tuple[str, np.ndarray]]:
        return {
            row["_id"]: (row["text"], from_bson(row["embedding"]))
            for row in self.workshop.vectors.find()
        }


def _kill(o: Opened, ending: Ending) -> None:
    """A process may end before a batch is written, or right after."""
    write = o.batches.write_batch

    def killed(batch):
        if ending == "a batch":
            write(batch)
        raise Killed

    if ending in ("no batch", "a batch"):
        o.batches.write_batch = killed  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def shops(_servers, static_model: str, tmp_path_factory) -> Iterator[list[Shop]]:
    """Every history has a database of its own."""
    made: list[Shop] = []
    uri = _servers.uri("mongod")

    def another() -> Shop:
        name = f"histories_{secrets.token_hex(4)}"
        shop = Workshop(Path(tmp_path_factory.mktemp("shop")), uri, name, static_model, name=name)
        shop.configure(
            {
                "source": {"carry": []},
                "embedder": {"max_batch_chunks": 2},
                "vector_store": {"allow_delete": True},
                "search_index": {"filter_fields": []},
            }
        )
        made.append(Shop(shop))
        return made[-1]

    yield another
    for shop in made:
        shop.workshop.client.drop_database(shop.workshop.database)
        shop.workshop.client.close()


@pytest.fixture(scope="module")
def expected(shops) -> dict[str, np.ndarray]:
    """Vectors of all texts, as a pipeline without shards has them."""
    shop = shops()
    shop.plan({f"d{n}": n for n in range(7)}, 1)
    shop.carry_out(1, 0)
    return dict(shop.vectors().values())


LAST = st.builds(Step, DOCUMENTS, st.integers(1, 4), st.just(()))


# An example takes a second or two, so that to shrink one would take long.
@settings(max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@example(steps=[], last=Step({f"d{n}": 0 for n in range(7)}, 2, ()))
@given(steps=st.lists(STEPS, min_size=1, max_size=3), last=LAST)
def test_the_store_ends_as_that_of_one_pipeline(shops, expected, steps, last):
    shop = shops()
    for step in steps:
        shop.plan(step.documents, step.shards)
        for shard, ending in step.endings:
            shop.carry_out(step.shards, shard % step.shards, ending)
    shop.plan(last.documents, last.shards)
    for shard in range(last.shards):
        shop.carry_out(last.shards, shard)
    found = shop.vectors()
    assert {name: text for name, (text, _) in found.items()} == {
        name: f"text {n}" for name, n in last.documents.items()
    }
    for text, vector in found.values():
        assert np.allclose(vector, expected[text], atol=1e-6)
    batched = shop.batched()
    assert len(batched) == len(set(batched)), "a text was embedded twice"
