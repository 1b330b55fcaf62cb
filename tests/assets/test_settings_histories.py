"""Whatever the settings were, in whatever order: one space a path, one space an answer."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.search import SearchAnswer
from resources.core.errors import QueryRefused
from resources.vector_store.writer import VectorWriter
from tests.models import build_static_model
from tests.workshop import Workshop

STRANGER = {"_id": "a stranger", "text": "somebody else's", "embedding_note": [1, 2]}

Step = dict[str, Any]

steps = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["a", "b", "narrow"]),
        "size": st.sampled_from([None, 20, 45]),
        "field": st.sampled_from(["text", "title"]),
        "dtype": st.sampled_from(["float32", "int8"]),
        "change": st.sampled_from(
            [
                {},
                {"keep_serving": False},
                {"mode": "replace"},
                {"mode": "replace", "allow_replace": True},
            ]
        ),
        "edited": st.integers(0, 3),
        "dies": st.sampled_from([None, None, 0, 1, 2]),
    }
)


def step(**given: Any) -> Step:
    plain = {"model": "a", "size": None, "field": "text", "dtype": "float32", "change": {}}
    return {**plain, "edited": 0, "dies": None, **given}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, static_model: str) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    other = str(build_static_model(folder / "b", seed=7))
    narrow = str(build_static_model(folder / "narrow", dimensions=32, seed=8))
    return {"a": static_model, "b": other, "narrow": narrow}


def documents(edited: int) -> list[dict[str, Any]]:
    """The first so many say something else."""
    return [
        {
            "_id": n,
            "text": f"paragraph {n} tells of things. " * (n + 1) + ("edited" if n < edited else ""),
            "title": f"title {n}",
        }
        for n in range(4)
    ]


@contextmanager
def dying(writes: int | None) -> Iterator[None]:
    """The store takes so many writes, and no more."""
    left, write = [writes], VectorWriter.write

    def taken(self: VectorWriter, rows: Any) -> int:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError("killed")
        return write(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VectorWriter, "write", taken)
        yield


def check(workshop: Workshop, *, whole: bool) -> None:
    """What holds after every run, however it ended."""
    assert workshop.vectors.find_one({"_id": STRANGER["_id"]}) == STRANGER
    with open_pipeline(workshop.pipeline) as o:
        record, base = o.record, o.base_key.path
        live = [entry for entry in record.entries() if not entry.retired]
        for row in workshop.vectors.find({"_id": {"$ne": STRANGER["_id"]}}):
            for name in row:
                if not name.endswith("_lineage"):
                    continue
                here = [e for e in live if f"{e.path(base)}_lineage" == name]
                # While one replaces another, both are known to lie there.
                assert row[name]["space"] in [e.space_id for e in here], (name, row[name])
                assert name.removesuffix("_lineage") in row, "no lineage without its vector"
            assert any(name.endswith("_lineage") for name in row), "nothing is left in it"
        if record.serving is None:
            return
        serving = record.entry(record.serving)
        assert serving is not None
        serves = o.in_space(serving).store
        stored = serves.count_mine(serving.space_id)
        assert not whole or stored == serves.count()
    for mode in ("vector", "hybrid"):
        answer, why = asked(workshop, mode)
        if answer is None:
            assert "has no index" in why, why
            continue
        assert {hit.lineage["space"] for hit in answer.hits} <= {answer.space.id}
        assert answer.space.id == record.serving


def asked(workshop: Workshop, mode: Any) -> tuple[SearchAnswer | None, str]:
    """An answer, or why there is none."""
    try:
        return workshop.search("a paragraph of things", limit=50, mode=mode), ""
    except QueryRefused as error:
        return None, str(error)


def replay(history: list[Step], folder: Path, uri: str, models: dict[str, str]) -> None:
    workshop = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", models["a"])
    try:
        workshop.vectors.insert_one(dict(STRANGER))
        workshop.configure(
            {
                "source": {"carry": []},
                "search_index": {"filter_fields": [], "text": {}},
                "embedder": {"max_batch_chunks": 3},
                "vector_store": {"allow_delete": True},
            }
        )
        for each in history:
            size = each["size"]
            chunking = {"recursive": {"size": size, "overlap": 0}} if size else {"none": {}}
            model = {"sentence_transformers": {"model": models[each["model"]]}}
            workshop.configure(
                {
                    "source": {"text": each["field"]},
                    "embedder": {"provider": model},
                    "vector_store": {"dtype": each["dtype"]},
                }
            )
            workshop.settings["source"]["chunking"] = chunking
            workshop.settings["model_change"] = each["change"]
            workshop.write(documents(each["edited"]))
            with dying(each["dies"]):
                run = workshop.run()
            gated = any("max_replace" in said or "allow_replace" in said for said in run.failures)
            beside = any("lies beside" in said for said in run.failures)
            assert run.success or each["dies"] is not None or gated or beside, run.failures
            check(workshop, whole=run.success)
    finally:
        workshop.client.drop_database(workshop.database)
        workshop.client.close()


@example([step(), step(model="b", size=20, dies=1), step(model="b", size=20, edited=2), step()])
@example(
    [
        step(size=20),
        step(model="narrow", size=45, change={"mode": "replace", "allow_replace": True}, dies=1),
        step(size=20, edited=1),
        step(model="b", size=45),
    ]
)
@given(st.lists(steps, min_size=2, max_size=5))
@settings(
    max_examples=1,
    phases=[Phase.explicit],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_some_histories(
    tmp_path_factory: pytest.TempPathFactory,
    mongod_uri: str,
    models: dict[str, str],
    history: list[Step],
):
    replay(history, tmp_path_factory.mktemp("history"), mongod_uri, models)


@pytest.mark.proof
@given(st.lists(steps, min_size=2, max_size=6))
@settings(
    max_examples=10, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_many_histories(
    tmp_path_factory: pytest.TempPathFactory,
    mongod_uri: str,
    models: dict[str, str],
    history: list[Step],
):
    replay(history, tmp_path_factory.mktemp("history"), mongod_uri, models)
