"""Which space of a pipeline serves: promoted, rolled back, retired, and what is refused."""

import copy
import json
import secrets
import shutil
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from tenacity import Retrying, stop_after_delay, wait_fixed

from assets.work.changing import retiring
from pipelines import promote, retire, rollback, spaces
from pipelines.framework.catalog import open_pipeline
from resources.core.errors import SpaceError
from resources.mongodb.lease import Lease
from tests.conftest import SERVERS, Servers
from tests.models import build_static_model
from tests.pipelines.helpers import embeddings, succeeds
from tests.search_node import SearchNode, search_node
from tests.workshop import Workshop, shared_instance

DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 7}", "kind": f"k{n % 3}"} for n in range(20)]


@dataclass
class Changing:
    """A pipeline that serves one space and has another one ready, with both ids."""

    shop: Workshop
    first: str
    second: str
    other: str
    node: SearchNode | None = None

    @property
    def server_indexes(self) -> list[str]:
        """Of a deployment with search nodes; none elsewhere."""
        found = self.shop.vectors.list_search_indexes() if self.node else []
        return [each["name"] for each in found]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another model of the same width."""
    return str(build_static_model(tmp_path_factory.mktemp("other") / "static-newer", seed=7))


def with_model(model: str, **model_change: Any) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    return {
        "resources": {"embedder": {"config": embedder}, "model_change": {"config": model_change}}
    }


@pytest.fixture(scope="module", params=[*SERVERS, "search node"])
def built(
    request: pytest.FixtureRequest,
    _servers: Servers,
    static_model: str,
    other: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Changing]:
    """Built once for each kind of server; `changing` has it as it was then."""
    with ExitStack() as stack:
        node = None
        if request.param == "search node":
            node = stack.enter_context(search_node(_servers.uri("mongod")))
            uri, engine = node.uri, "mongodb"
        else:
            uri, engine = _servers.uri(request.param), "local"
        name = f"test_{secrets.token_hex(6)}"
        shop = Workshop(tmp_path_factory.mktemp("shop"), uri, name, static_model)
        stack.callback(shop.client.close)
        stack.callback(shop.client.drop_database, name)
        shop.configure({"search_index": {"engine": engine, "poll_seconds": 0.05}})
        shop.write(DOCUMENTS)
        for config in (None, with_model(other)):
            run = shop.run(config=config)
            assert run.success, run.failures
        first, second = (each.entry.space_id for each in spaces(shop.pipeline).spaces)
        assert run.checks["may_serve"]
        yield Changing(shop, first, second, other, node)


on_one_server = pytest.mark.parametrize("built", ["mongod"], indirect=True)
"""For what is the same on every server."""


@pytest.fixture
def changing(built: Changing) -> Iterator[Changing]:
    """What was built, put back afterwards: to build it takes longer than many a test."""
    shop, database = built.shop, built.shop.client[built.shop.database]
    settings, files = shop.settings, shop.folder / "batch_store"
    before = {name: list(database[name].find()) for name in database.list_collection_names()}
    helpers = shop.vectors.index_information()
    kept = shop.folder / "kept"
    shutil.copytree(files, kept)
    indexes = copy.deepcopy(built.node.indexes) if built.node else None
    yield built
    if built.node and indexes:
        built.node.indexes = indexes
    shop.settings = settings
    shop.write(DOCUMENTS)
    shutil.rmtree(files)
    kept.rename(files)
    for name in database.list_collection_names():
        database[name].delete_many({})
        if before.get(name):
            database[name].insert_many(before[name])
    for name, helper in helpers.items():
        if name != "_id_":
            shop.vectors.create_index(helper["key"], name=name)


def states(workshop: Workshop) -> dict[str, str]:
    return {each.entry.space_id: each.state for each in spaces(workshop.pipeline).spaces}


def answered_from(workshop: Workshop, space: str) -> None:
    """A searcher that is held looks every now and then which space serves."""
    for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.05), reraise=True):
        with attempt:
            assert workshop.search("text 3").space.id == space


def test_there_and_back_and_gone(changing: Changing):
    workshop, first, second = changing.shop, changing.first, changing.second
    before = workshop.stored()
    done = promote(workshop.pipeline, second, by="ann@host")
    assert (done.before, done.now) == (first, second)
    assert states(workshop) == {second: "serving", first: "previous"}
    answered_from(workshop, second)
    with pytest.raises(SpaceError, match=r"is the way back until .*retire_after_days: 7"):
        retire(workshop.pipeline, first)
    back = rollback(workshop.pipeline, why="odd answers", by="bob@host")
    assert back.behind
    assert back.behind.fresh
    assert states(workshop) == {first: "serving", second: "previous"}
    with pytest.raises(SpaceError, match=r"rolled back to .* already, by bob@host"):
        rollback(workshop.pipeline)
    assert len(changing.server_indexes) == (2 if changing.node else 0)
    gone = retire(workshop.pipeline, second, force="it was worse", by="ann@host")
    assert changing.server_indexes == (["vector_index"] if changing.node else [])
    assert gone.vectors == 20
    assert gone.batches == 1
    assert states(workshop) == {first: "serving", second: "retired"}
    names = {f"embedding__{second}", f"embedding__{second}_lineage"}
    assert workshop.stored() == {
        key: {name: value for name, value in document.items() if name not in names}
        for key, document in before.items()
    }
    helpers = workshop.vectors.index_information()
    assert sorted(helpers) == ["_id_", "embedding_lineage_space_text"]
    with open_pipeline(workshop.pipeline) as o:
        assert o.batches.batches(second) == []
        assert len(o.batches.batches(first)) == 1
        (left,) = (e for e in o.record.entries() if e.space_id == second)
        assert (left.vectors, left.retired) == (20, True)
        assert left.cleared
    told = [
        (each.event, each.space_id, each.by, each.why.split(":")[0])
        for each in spaces(workshop.pipeline, history=True).history
    ]
    assert told[2:] == [
        ("promoted", second, "ann@host", "the gate lets it through"),
        ("rolled back", first, "bob@host", "odd answers"),
        ("retired", second, "ann@host", "forced"),
    ]
    assert [each[:2] for each in told[:2]] == [("first", first), ("built", second)]
    answered_from(workshop, first)


def test_what_was_retired_can_be_built_again_at_its_place(changing: Changing):
    workshop, first, second = changing.shop, changing.first, changing.second
    before = workshop.stored()
    retire(workshop.pipeline, second)
    with pytest.raises(SpaceError, match="is gone already"):
        retire(workshop.pipeline, second)
    with pytest.raises(SpaceError, match="is retired since"):
        promote(workshop.pipeline, second)
    again = workshop.run(config=with_model(changing.other))
    assert again.success, again.failures
    assert again.candidate_space["embedded"] == 20
    assert states(workshop) == {first: "serving", second: "ready"}
    paths = [name for name in before[3] if not name.endswith("_lineage")]
    after = workshop.stored()
    assert all(after[3][name] == before[3][name] for name in paths)


def test_refused_with_the_reason_and_a_way_out(changing: Changing):
    workshop, first, second = changing.shop, changing.first, changing.second
    with pytest.raises(SpaceError, match=rf"no space 'nothing': it has .*{first} \(serving\)"):
        promote(workshop.pipeline, "nothing")
    with pytest.raises(SpaceError, match="2 spaces of films begin with"):
        promote(workshop.pipeline, "static-")
    with pytest.raises(SpaceError, match="serves films already, since"):
        promote(workshop.pipeline, first)
    with pytest.raises(SpaceError, match="promote another space first"):
        retire(workshop.pipeline, first)
    with pytest.raises(SpaceError, match="no space to go back to"):
        rollback(workshop.pipeline)
    with open_pipeline(workshop.pipeline, run="somebody") as o:
        entry = o.record.entry(second)
        assert entry
        lane = o.lying(entry)
        with lane.work(), pytest.raises(SpaceError, match=r"run somebody .* is working on"):
            promote(workshop.pipeline, second, force="now")
        with lane.work(), pytest.raises(SpaceError, match=r"run somebody .* is working on"):
            retire(workshop.pipeline, second)
        o.registry.of_pipelines.note(o.record, second, missing=3)
        with pytest.raises(SpaceError, match="3 of 20 chunks have no vector yet"):
            promote(workshop.pipeline, second)
        o.registry.of_pipelines.note(o.record, second, missing=0)
        if changing.node:
            index = changing.node.indexes.find(workshop.database, "vectors", lane.search_index.name)
            assert index
            index.served, index.script = None, ["BUILDING"] * 100
            with pytest.raises(SpaceError, match=r"does not serve \(.* is BUILDING"):
                promote(workshop.pipeline, second, force="now")
        o.registry.indexes.forget(lane.index_key)
        with pytest.raises(SpaceError, match="has no index"):
            promote(workshop.pipeline, second, force="now")
    assert states(workshop) == {first: "serving", second: "ready"}


@on_one_server
def test_force_is_written_down_with_what_spoke_against_it(changing: Changing):
    workshop, second = changing.shop, changing.second
    with open_pipeline(workshop.pipeline) as o:
        o.registry.of_pipelines.note(o.record, second, missing=3)
    done = promote(workshop.pipeline, second, force="the old model is withdrawn tonight")
    assert done.change.why.startswith("forced: the old model is withdrawn tonight (against: ")
    assert "3 of 20 chunks" in done.change.why


def test_of_two_at_once_one_wins_and_the_other_is_told(changing: Changing, tmp_path: Path):
    workshop, first, second = changing.shop, changing.first, changing.second
    third = str(build_static_model(tmp_path / "third", seed=8))
    assert workshop.run(config=with_model(third)).success
    (name,) = set(states(workshop)) - {first, second}
    together, came = threading.Barrier(2), {}
    pipeline = workshop.pipeline

    def ask(space: str) -> None:
        from assets.work.changing import promoting

        with open_pipeline(pipeline) as o:
            assert o.record.serving == first
            together.wait(60)
            try:
                came[space] = promoting.promote(o, space, by=f"who wants {space}")
            except SpaceError as error:
                came[space] = error

    threads = [threading.Thread(target=ask, args=[space]) for space in (second, name)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (lost,) = (space for space, each in came.items() if isinstance(each, SpaceError))
    (won,) = came.keys() - {lost}
    assert states(workshop)[won] == "serving"
    assert f"{won} serves films by now (who wants {won} was faster at" in str(came[lost])
    flips = [e.event for e in spaces(pipeline, history=True).history if e.event == "promoted"]
    assert len(flips) == 1


def test_a_space_to_go_back_to_may_be_stale_and_that_is_said(changing: Changing):
    workshop, first, second = changing.shop, changing.first, changing.second
    promote(workshop.pipeline, second)
    workshop.write(
        [{**DOCUMENTS[0], "text": "another"}, *DOCUMENTS[2:], {"_id": 99, "text": "new"}]
    )
    assert workshop.run(config=with_model(changing.other)).success
    back = rollback(workshop.pipeline)
    assert back.now == first
    assert str(back.behind) == (
        "it is stale: of 20 chunks 1 have no vector in it, 1 have one of an older text, 1 are in "
        "it that are not in the source any more"
    )


def test_nobody_elses_document_is_touched(changing: Changing):
    workshop, second = changing.shop, changing.second
    theirs = {"_id": "theirs", f"embedding__{second}": [1.0], "text": "x"}
    workshop.vectors.insert_one(theirs)
    retire(workshop.pipeline, second)
    assert workshop.vectors.find_one({"_id": "theirs"}) == theirs


@on_one_server
def test_the_gate_keeps_what_it_has_measured(changing: Changing):
    done = promote(changing.shop.pipeline, changing.second)
    assert done.verdict
    assert not done.verdict.measured  # the run has
    assert done.verdict.known_item
    assert [row.criterion for row in done.verdict.rows] == [
        "coverage",
        "index",
        "nDCG@10",
        "overlap@10",
        "latency of a search",
        "bytes of vectors",
        "cost a month",
    ]


@on_one_server
def test_what_is_worse_beyond_chance_is_stopped(changing: Changing):
    workshop, first, second = changing.shop, changing.first, changing.second
    words = [f"{a} {b}" for a in ("red", "blue", "wide", "old") for b in ("cat", "sea", "tree")]
    # What the first one finds is right.
    judged = [
        {"query": text, "relevant": [hit.id for hit in workshop.search(text, limit=2).hits]}
        for text in words
    ]
    file = workshop.folder / "judged.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in judged), "utf-8")
    workshop.configure({"evaluation": {"queries": {"jsonl": {"path": str(file)}}}})
    with pytest.raises(SpaceError, match=r"may not serve: the gate stops it: nDCG@10 .*--force"):
        promote(workshop.pipeline, second)
    assert states(workshop) == {first: "serving", second: "ready"}
    forced = promote(workshop.pipeline, second, force="it is cheaper")
    assert forced.change.why.startswith(
        "forced: it is cheaper (against: the gate stops it: nDCG@10"
    )


@on_one_server
def test_it_may_serve_by_itself_once_the_gate_lets_it_through(changing: Changing):
    workshop, first, second = changing.shop, changing.first, changing.second
    strict = {"promote": "auto", "gate": {"min_overlap": 1.0}}
    stopped = workshop.run(config=with_model(changing.other, **strict))
    assert stopped.success, stopped.failures
    assert not stopped.checks["may_serve"]
    assert states(workshop) == {first: "serving", second: "ready"}
    let = workshop.run(config=with_model(changing.other, promote="auto"))
    assert let.success, let.failures
    assert states(workshop) == {second: "serving", first: "previous"}
    last = spaces(workshop.pipeline, history=True).history[-1]
    assert last.by == f"run {let.run_id}, by `promote: auto`"
    assert last.why.startswith("the gate lets it through")
    # Who goes back is not overruled by tonight's run.
    rollback(workshop.pipeline, why="odd answers", by="bob@host")
    tonight = workshop.run(config=with_model(changing.other, promote="auto"))
    assert tonight.success, tonight.failures
    assert states(workshop) == {first: "serving", second: "previous"}
    promote(workshop.pipeline, second)
    assert states(workshop) == {second: "serving", first: "previous"}


@on_one_server
def test_a_part_of_the_source_is_no_coverage(changing: Changing, tmp_path: Path):
    workshop, first, second = changing.shop, changing.first, changing.second
    config = with_model(str(build_static_model(tmp_path / "third", seed=8)), promote="auto")
    config["resources"]["source"] = {"config": {"limit": 5}}
    run = workshop.run(config=config)
    assert run.success, run.failures
    assert not run.checks["may_serve"]
    (third,) = set(states(workshop)) - {first, second}
    with pytest.raises(SpaceError, match=r"gate stops it: coverage .* 15 have no vector in it"):
        promote(workshop.pipeline, third)


@on_one_server
def test_what_is_left_of_a_retired_space_is_in_nobodys_way(
    changing: Changing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workshop, first, second = changing.shop, changing.first, changing.second
    promote(workshop.pipeline, second)

    def killed(lane: Any) -> int:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(retiring, "_take_away", killed)
        with pytest.raises(OSError, match="killed"):
            retire(workshop.pipeline, first, force="soon")
    third = workshop.run(config=with_model(str(build_static_model(tmp_path / "third", seed=8))))
    assert third.success, third.failures
    assert third.candidate_space["embedded"] == 20
    gone = retire(workshop.pipeline, first)
    assert (gone.vectors, gone.resumed) == (20, True)
    assert sorted(states(workshop).values()) == ["ready", "retired", "serving"]


class Killed(BaseException):
    """As a signal that nobody expects."""


def test_killed_at_any_step_it_goes_on(changing: Changing, monkeypatch: pytest.MonkeyPatch):
    workshop, second = changing.shop, changing.second
    monkeypatch.setattr(retiring, "AT_ONCE", 7)
    check, asked, step = Lease.check, 0, 0
    done = None
    while done is None:
        asked, step = 0, step + 1

        def check_or_die(lease: Lease, step: int = step) -> None:
            nonlocal asked
            asked += 1
            if asked == step:
                raise Killed
            check(lease)

        monkeypatch.setattr(Lease, "check", check_or_die)
        try:
            done = retire(workshop.pipeline, second)
        except Killed:
            assert states(workshop)[second] == "retired"
            with pytest.raises(SpaceError, match="is retired since"):
                promote(workshop.pipeline, second)
    assert step > 3
    assert done.resumed
    left = workshop.stored()
    assert len(left) == 20
    assert not any(second in name for document in left.values() for name in document)
    told = spaces(workshop.pipeline, history=True).history
    assert [each.event for each in told].count("retired") == 1


@on_one_server
def test_without_the_extra_it_is_said_how_to_install_it(
    changing: Changing, monkeypatch: pytest.MonkeyPatch
):
    workshop = changing.shop
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(SpaceError, match=r"cannot judge: .*pip install .*evaluation.*--force"):
        promote(workshop.pipeline, changing.second)
    run = workshop.run(config=with_model(changing.other))
    assert run.success
    assert not run.checks["may_serve"]


@on_one_server
def test_queries_count_in_the_budget(changing: Changing):
    workshop = changing.shop
    shutil.rmtree(workshop.folder / "batch_store" / "queries")
    workshop.configure({"embedder": {"max_tokens": 10}})
    with pytest.raises(SpaceError, match=r"cannot judge: embedding 40 texts .* `max_tokens: 10`"):
        promote(workshop.pipeline, changing.second)


@on_one_server
def test_each_is_a_job_too_and_the_history_names_the_run(changing: Changing):
    workshop, first, second = changing.shop, changing.first, changing.second
    definitions = workshop.pipeline.definitions()

    def launched(job: str, op: str, **config: str) -> dg.ExecuteInProcessResult:
        return definitions.resolve_job_def(job).execute_in_process(
            run_config={"ops": {op: {"config": config}}},
            instance=shared_instance(),
            tags={"user": "ann"},
            raise_on_error=False,
        )

    refused = launched("films_promote", "films_promote_space", space="nothing")
    assert not refused.success
    assert states(workshop) == {first: "serving", second: "ready"}
    runs = [
        launched("films_promote", "films_promote_space", space=second),
        launched("films_rollback", "films_rollback_space", why="odd answers"),
        launched("films_retire", "films_retire_space", space=second, force="it was worse"),
    ]
    assert all(run.success for run in runs)
    assert states(workshop) == {first: "serving", second: "retired"}
    told = spaces(workshop.pipeline, history=True).history[-3:]
    assert [(each.event, each.by, each.run) for each in told] == [
        (event, f"ann, run {run.run_id}", run.run_id)
        for event, run in zip(("promoted", "rolled back", "retired"), runs, strict=True)
    ]


@on_one_server
def test_each_is_a_command_too(changing: Changing, monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("of_this_test")
    vars(module)["pipeline"] = changing.shop.pipeline
    monkeypatch.setitem(sys.modules, "pipelines.of_this_test", module)
    name, first, second = "of_this_test", changing.first, changing.second

    def told(*arguments: str) -> dict[str, Any]:
        return json.loads(succeeds(*arguments, "--json"))

    refused = embeddings("promote", name, "nothing")
    assert refused.exit_code == 1
    assert f"it has {first} (serving), {second} (ready)" in " ".join(refused.stderr.split())
    promoted = told("promote", name, second[:-3])
    assert (promoted["before"], promoted["now"]) == (first, second)
    assert promoted["verdict"]["passed"]
    assert told("rollback", name, "--why", "odd answers")["behind"]["missing"] == 0
    assert "serves films now" in succeeds("promote", name, second, "--force", "it was right")
    assert "serves films now" in succeeds("rollback", name)
    assert told("retire", name, second, "--force", "it was wrong")["vectors"] == 20
    found = told("spaces", name, "--history")
    assert [each["state"] for each in found["spaces"]] == ["serving", "retired"]
    events = [each["event"] for each in found["history"][2:]]
    assert events == ["promoted", "rolled back", "promoted", "rolled back", "retired"]
    assert "@" in found["history"][-1]["by"]
    assert "forced: it was wrong" in " ".join(succeeds("spaces", name, "--history").split())
