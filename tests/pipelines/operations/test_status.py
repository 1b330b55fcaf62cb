"""`status`: each pipeline tells how it is, and none hides another."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.framework import execution
from pipelines.framework.execution import RunFailed
from pipelines.operations import several
from pipelines.operations.status import PipelineStatus, deployment, judging, status
from resources.core.moment import now
from resources.mongodb import clients, embedded
from resources.mongodb.resource import MongoDBResource
from resources.registry.ledger import Ledger
from tests.pipelines.operations.conftest import Town


def of(name: str, *overrides: str, **options: object) -> PipelineStatus:
    (row,) = status([name], overrides, **options)  # pyright: ignore[reportArgumentType]
    return row


@pytest.fixture
def others(town: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pipelines beside `films`, none of which can be looked into."""
    town.add_dead("dead")
    monkeypatch.setenv("DENIED", town.uri.replace("mongodb://", "mongodb://me:sesame@"))
    town.add("denied", mongodb={"deployment": {"server": {"uri": {"env": "DENIED"}}}})
    town.add("asleep", mongodb={"deployment": {"embedded": {}}})
    town.add("unset", mongodb={"deployment": {"server": {"uri": {"env": "NO_URI"}}}})
    town.module("broken", "raise SystemExit('no such luck')\npipeline = None\n")
    town.module("misspelt", "from pipelines import EmbeddingPipeline\npipeline = EmbeddingPipe()\n")
    yield
    for name in ("dead", "denied", "asleep", "unset", "broken", "misspelt"):
        (town.folder / "pipelines" / f"{name}.py").unlink()


def test_none_hides_another(town: Town, others: None):
    rows = {row.pipeline: row for row in status()}
    films = rows.pop("films")
    assert films.wrong == ()
    assert (films.vectors, films.quarantined, films.model) == (6, 0, "static")
    assert films.index
    assert (films.index.state, films.index.engine) == ("ready", "local")
    assert (films.index.indexed, films.index.stored) == (6, 6)
    assert films.last_run
    assert (films.last_run.state, films.last_run.by) == ("succeeded", "command line")
    assert films.age_seconds is not None
    assert 0 <= films.age_seconds < 600
    assert films.spent_usd == 0
    assert films.space
    words = {
        "dead": "cannot be reached",
        "denied": "refuses the user name or password",
        "unset": "needs NO_URI for its mongodb",
        "broken": "it cannot be loaded: SystemExit: no such luck",
        "misspelt": "it cannot be loaded: NameError",
        "asleep": "it has not run yet",
    }
    assert set(rows) == set(words)
    for name, said in words.items():
        assert said in rows[name].wrong[0], rows[name]
        assert rows[name].vectors is None
        assert "sesame" not in str(rows[name])
    assert rows["asleep"].asleep
    assert embedded.running(town.folder / "state" / "mongodb") is None, "looking starts nothing"


def test_ten_over_one_deployment_share_its_client_and_its_ledger(
    town: Town, monkeypatch: pytest.MonkeyPatch
):
    names = [town.add(f"ten_{n}") for n in range(10)]
    made, read = [], []
    connect, spend = clients._connect, Ledger.spend
    monkeypatch.setattr(clients, "_connect", lambda *a: made.append(a) or connect(*a))
    monkeypatch.setattr(Ledger, "spend", lambda *a, **k: read.append(a) or spend(*a, **k))
    rows = status(["films", *names])
    assert [row.pipeline for row in rows] == ["films", *names]
    assert rows[0].wrong == ()
    assert all(row.index and row.index.state == "none" for row in rows[1:])
    assert len(read) == 1
    assert len(made) <= 2, "the first may be gone before the next comes"
    for name in names:
        (town.folder / "pipelines" / f"{name}.py").unlink()


def test_a_dead_deployment_is_waited_for_once(town: Town, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(several, "AT_ONCE", 2)
    names = [town.add_dead(f"dead_{n}") for n in range(6)]
    asked, connect = [], MongoDBResource.connect
    monkeypatch.setattr(MongoDBResource, "connect", lambda *a: asked.append(a) or connect(*a))
    assert all("cannot be reached" in row.wrong[0] for row in status(names))
    assert len(asked) == 1
    for name in names:
        (town.folder / "pipelines" / f"{name}.py").unlink()


def test_what_hangs_is_left_behind(town: Town, monkeypatch: pytest.MonkeyPatch):
    ended = threading.Event()

    def hang(*_: object) -> None:
        ended.wait(60)

    monkeypatch.setattr(deployment, "_counted", hang)
    monkeypatch.setattr(several, "AT_ONCE", 100)
    row = of("films", patience=3)
    ended.set()
    assert "did not answer within" in row.wrong[0]
    assert row.last_run, "what Dagster knows is there all the same"


def test_what_goes_wrong_one_after_the_other(town: Town, monkeypatch: pytest.MonkeyPatch):
    town.add("harmed")
    texts = [{"_id": n, "text": f"text {n}"} for n in range(9)]
    town.write("harmed", [*texts, {"_id": "void", "text": " "}])
    execution.run("harmed")
    row = of("harmed", max_age=timedelta(hours=1))
    assert (row.vectors, row.quarantined) == (9, 1)
    quarantine = "1 of 10 are in quarantine, more than 5%"
    assert row.wrong == (quarantine,)
    _, old = of("harmed", max_age=timedelta(milliseconds=1)).wrong
    assert old.startswith("the last good run ended ")
    # What the pipeline itself promises counts where nobody says anything else.
    promised = town.config("promised", freshness={"warn": "1h", "fail": "1d"})
    assert of("harmed", promised).wrong == (quarantine,)
    with monkeypatch.context() as patch:
        patch.setattr(judging, "now", lambda: now() + timedelta(days=2))
        assert of("harmed").wrong == (quarantine,)
        assert of("harmed", promised, max_age=timedelta(days=3)).wrong == (quarantine,)
        _, late = of("harmed", promised).wrong
    assert late.startswith("the last good run ended 48 h")
    assert late.endswith("over 24 h 0 min")
    # Files of the index that are cut off, or gone.
    found = (town.folder / "state").glob("batch_store/indexes/harmed/**/segment.json")
    (file,) = [manifest.with_name("index.faiss") for manifest in found]
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    row = of("harmed")
    assert row.index
    assert row.index.state == "none"
    assert "holds a torn or foreign index.faiss" in row.wrong[0]
    file.unlink()
    assert "lacks index.faiss" in of("harmed").wrong[0]
    file.write_bytes(content)
    assert of("harmed").wrong == (quarantine,)
    # A store dropped by hand.
    town.client[town.database]["harmed"].drop()
    row = of("harmed")
    assert row.index
    assert (row.vectors, row.index.state, row.index.stored) == (0, "stale", 0)
    assert "9 indexed, but 0 stored" in row.wrong[0]
    # A run that fails.
    (town.folder / "harmed.jsonl").unlink()
    with pytest.raises(RunFailed):
        execution.run("harmed")
    row = of("harmed")
    assert row.last_run
    assert row.last_run.state == "failed"
    assert row.wrong[-1] == f"the last run {row.last_run.id} failed"
    assert row.age_seconds is not None, "since the run before"
    (town.folder / "pipelines" / "harmed.py").unlink()


def test_what_the_settings_ask_for_now_is_compared(town: Town):
    fields = town.config("fields", search_index={"filter_fields": ["kind"]})
    row = of("films", fields)
    assert row.index
    assert row.index.state == "stale"
    assert "settings have changed" in row.wrong[0]
    narrow = {"sentence_transformers": {"model": town.model, "dimensions": 32}}
    row = of("films", town.config("narrow", embedder={"provider": narrow}))
    assert row.index
    assert (row.index.state, row.wrong) == ("ready", ())
    assert "the settings ask for static-32-" in row.notes[0]
    assert "builds it beside" in row.notes[0]
    replacing = town.config(
        "replacing", embedder={"provider": narrow}, model_change={"mode": "replace"}
    )
    row = of("films", replacing)
    assert row.index
    assert row.index.state == "stale"
    assert "the settings ask for static-32-" in row.wrong[0]


def test_of_a_large_store_the_registry_tells(town: Town, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deployment, "COUNTED", 3)
    row = of("films")
    assert row.index
    assert (row.vectors, row.index.state, row.index.counted) == (6, "ready", False)
    assert row.wrong == ()


@pytest.mark.parametrize("kind", ["no right", "no database"])
def test_a_dagster_home_that_cannot_be_read_hides_nothing_else(
    town: Town, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    home = Path("/proc/nowhere") if kind == "no right" else tmp_path / "home"
    if kind == "no database":
        (home / "history").mkdir(parents=True)
        (home / "history" / "runs.db").write_text("not SQLite at all, and long enough" * 40)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    row = of("films", max_age=timedelta(hours=1))
    assert row.vectors == 6
    (why,) = row.wrong
    assert "cannot be" in why
    assert str(home) in why or "DAGSTER_HOME" in why


def test_another_time_zone_changes_no_age(town: Town, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(os.environ, "TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        age = of("films").age_seconds
        assert age is not None
        assert 0 <= age < 600
    finally:
        monkeypatch.undo()
        time.tzset()
