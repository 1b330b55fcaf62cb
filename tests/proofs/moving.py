"""A served pipeline that moves to another model: its texts, its clients, and what is left then."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from bson.binary import Binary

from assets import candidate_space
from assets.work.candidate import Candidate, build
from assets.work.changing import retiring
from assets.work.opened import Opened
from pipelines.framework.catalog import open_pipeline
from pipelines.operations import spaces
from pipelines.operations.search import open_searcher
from resources.registry.pipeline_spaces import PipelineSpaces
from tests.asking import Client, by_searcher, over_http
from tests.killing import RunningChild, freeze, stop_before
from tests.pipelines.serving.test_command import started
from tests.workshop import Workshop

WORDS = ["anchor", "barley", "candle", "dragon", "engine", "falcon", "garden", "hammer", "island",
         "jacket", "kettle", "ladder", "marble", "needle", "orchard", "pepper", "quarry", "ribbon",
         "saddle", "timber", "uniform", "valley", "walnut", "yellow", "zephyr"]  # fmt: skip
TEXTS, EDITED = 80, 17
QUERIES = [" ".join(random.Random(n).choices(WORDS, k=4)) for n in range(6)]
PAUSE = 0.02
"""Seconds between two questions of a client: the runs need the processors too."""
MODULE = """\
from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(name="films", configs=["{config}"])
defs = pipeline.definitions()
"""


def corpus(version: int) -> dict[int, str]:
    """Texts by id; in version 1 one of them says what the first query asks for."""
    draw = random.Random(15)
    texts = {n: " ".join(draw.choices(WORDS, k=7)) for n in range(TEXTS)}
    return {**texts, EDITED: f"{QUERIES[0]} again"} if version else texts


def write(shop: Workshop, version: int) -> None:
    texts = corpus(version).items()
    shop.write([{"_id": n, "text": text, "kind": f"k{n % 3}"} for n, text in texts])


def with_model(model: str) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    return {"resources": {"embedder": {"config": embedder}}}


def states(shop: Workshop) -> dict[str, str]:
    """Of every space by its id."""
    with open_pipeline(shop.pipeline) as o:
        return {entry.space_id: o.record.state(entry.space_id) for entry in o.record.entries()}


# --- clients


@contextmanager
def clients(shop: Workshop) -> Iterator[Sequence[Client]]:
    """Two threads with one searcher, and one over the HTTP of a server in another process.

    Whatever they were told is looked at by whoever uses them.
    """
    project = shop.folder / "project"
    (project / "pipelines").mkdir(parents=True)
    (project / "workspace.yaml").write_text("load_from: []\n", "utf-8")
    config = shop.pipeline.configs[0]
    (project / "pipelines" / "films.py").write_text(MODULE.format(config=config), "utf-8")
    with open_searcher(shop.pipeline) as searcher, started(project, "--port", "0") as (_, url):
        asked = [
            Client("one thread", by_searcher(searcher), QUERIES, PAUSE),
            Client("another thread", by_searcher(searcher), QUERIES[::-1], PAUSE),
            Client("over HTTP", over_http(url, shop.name), QUERIES, PAUSE),
        ]
        for client in asked:
            client.start()
        try:
            yield asked
        finally:
            for client in asked:
                client.stop()


def answered(asked: Sequence[Client]) -> None:
    """Wait until each has been answered all the questions."""
    for client in asked:
        client.wait_for_more(len(QUERIES))


def switched(asked: Sequence[Client], space: str) -> None:
    """Wait until each is answered from a space, and go on for a while."""
    for client in asked:
        client.wait_for(space, lambda me: bool(me.answers) and me.answers[-1].space == space)
    answered(asked)


# --- steps in a process of its own, which is killed


def in_candidate(method: str, collection: str = "", after: int = 0) -> None:
    """Freeze as `stop_before`, but not before the candidate is built."""

    def frozen(o: Opened) -> Candidate:
        stop_before(method, collection, after=after)
        return build(o)

    candidate_space.build = frozen


def in_small_steps(method: str, collection: str = "", after: int = 0) -> None:
    """Freeze as `stop_before`; vectors are taken away in small batches."""
    retiring.AT_ONCE = 20
    stop_before(method, collection, after=after)


def before_noting(event: str) -> None:
    """Freeze once a change is made that is not in the history yet."""
    note = getattr(PipelineSpaces, "_remember")  # noqa: B009

    def noted(self: PipelineSpaces, record: Any, version: int, told: Mapping[str, Any]) -> None:
        if told["event"] == event:
            freeze()
        note(self, record, version, told)

    setattr(PipelineSpaces, "_remember", noted)  # noqa: B010


def running(model: str, shop: Workshop) -> tuple[bool, Any]:
    done = shop.run(config=with_model(model))
    return done.success, done.failures or done.candidate_space["embedded"]


def promoting(space: str, shop: Workshop) -> tuple[bool, Any]:
    return True, spaces.promote(shop.pipeline, space).now


def rolling_back(shop: Workshop) -> tuple[bool, Any]:
    return True, spaces.rollback(shop.pipeline).now


def retiring_it(space: str, shop: Workshop) -> tuple[bool, Any]:
    return True, spaces.retire(shop.pipeline, space).vectors


def frozen(shop: Workshop, prepare: partial[None], work: Any) -> RunningChild:
    child = RunningChild(shop, prepare=prepare, work=work)
    child.wait_until_frozen()
    return child


# --- what is left at the end


def check_end(shop: Workshop, old: str, new: str, model: Any) -> None:
    """Only what should be: nothing of the old space, all of the new one, and the history."""
    path = f"embedding__{new}"
    ours = {"_id", "source_id", "text", "kind", "embedding_inserted_by", path, f"{path}_lineage"}
    texts = corpus(1)
    stored = shop.stored()
    assert {n: document["text"] for n, document in stored.items()} == texts
    wanted = model.encode(list(texts.values()), show_progress_bar=False)
    for n, vector in zip(texts, wanted, strict=True):
        assert stored[n].keys() == ours
        assert stored[n][f"{path}_lineage"]["space"] == new
        found = stored[n][path]
        assert isinstance(found, Binary)
        unit = vector / np.linalg.norm(vector)
        assert np.allclose(found.as_vector().data, unit, atol=1e-5)
    assert states(shop) == {old: "retired", new: "serving"}
    with open_pipeline(shop.pipeline) as o:
        told = o.registry.of_pipelines.history(shop.name)
        assert [(each.event, each.space_id, each.before) for each in told] == [
            ("first", old, None),
            ("built", new, None),
            ("promoted", new, old),
            ("rolled back", old, new),
            ("promoted", new, old),
            ("retired", old, None),
        ]
        entry = o.record.entry(new)
        assert entry is not None
        assert (entry.vectors, entry.chunks, entry.missing) == (TEXTS, TEXTS, 0)
        covered = o.serving.engine.coverage()
        assert (covered.stored, covered.indexed) == (TEXTS, TEXTS)
        assert [space for space in o.batches.spaces() if o.batches.batches(space)] == [new]
        _check_indexes(shop, o, new)


def _check_indexes(shop: Workshop, o: Opened, new: str) -> None:
    rows = shop.client[shop.database]["search_indexes"].find()
    assert [row["_id"] for row in rows] == [o.serving.index_key]
    if o.serving.engine.name == "mongodb":
        listed = [each["name"] for each in shop.vectors.list_search_indexes()]
        assert listed == [o.serving.search_index.name]
    else:
        folders = [path.name for path in (shop.folder / "batch_store/indexes/films").iterdir()]
        assert len(folders) == 1, folders
        assert new in folders[0]
