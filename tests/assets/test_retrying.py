"""Steps that failed of what passes are tried again; what was paid for is not paid twice."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pymongo.errors import AutoReconnect, OperationFailure
from pymongo.uri_parser import parse_uri

from assets.failing import StepFailed
from assets.retrying import Tries
from assets.work.parts import Parts
from resources.core.errors import ConfigurationError, DeploymentError, LeaseError, ProviderError
from resources.mongodb.deployment import explain
from resources.runs.resource import RunsResource
from tests.killing import CutProxy, cut_proxy, expire_lease
from tests.workshop import Workshop, shared_instance

TEXTS = [f"text number {n}" for n in range(60)]


@pytest.fixture
def films(
    tmp_path: Path, mongod_uri: str, openai_api: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", "none")
    made.write([{"_id": n, "text": text, "kind": "film"} for n, text in enumerate(TEXTS)])
    provider = {
        "base_url": openai_api.url, "dimensions": 64, "attempts": 1, "max_failures": 1,
        "concurrency": 1, "max_texts": 5,
    }  # fmt: skip
    made.configure(
        {
            "embedder": {"provider": {"openai": provider}, "max_batch_chunks": 5},
            "runs": {"retries": 2, "retry_pause": "1s"},
        }
    )
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@contextmanager
def when_tried_again(do: Callable[[], object]) -> Iterator[list[str]]:
    """Do it as soon as a run says that it will try again; gives what it said."""
    said: list[str] = []

    request = Tries.request

    def requested(tries: Tries, failed: StepFailed) -> dg.RetryRequested:
        said.append(failed.description or "")
        do()
        return request(tries, failed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tries, "request", requested)
        yield said


def again(run_id: str) -> list[str]:
    """The steps that a run tried again."""
    records = shared_instance().get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY
    )
    events = [record.event_log_entry.dagster_event for record in records.records]
    return [event.step_key.split("__")[-1] for event in events if event and event.step_key]


def paid_once(api: Any, *, but: Sequence[str] = ()) -> None:
    """Each text; of some it is allowed that they were paid twice."""
    served = dict(api.texts_served)
    served.pop("a", None)  # what tells a bad text from a server that is down
    assert served.keys() == set(TEXTS)
    assert {text for text, times in served.items() if times > 1} in (set(), set(but))
    assert max(served.values()) <= 2


def test_an_outage_of_the_provider_is_waited_out(films: Workshop, openai_api: Any):
    behaviour = openai_api.behaviour
    behaviour.fault_when = lambda request: 503 if len(openai_api.requests) > 6 else None

    def back() -> None:
        behaviour.fault_when = None

    with when_tried_again(back) as said:
        run = films.run()
    assert run.success, run.failures
    assert again(run.run_id) == ["embedding_batches"]
    assert len(said) == 1
    assert "HTTP 503" in said[0]
    assert len(films.stored()) == len(TEXTS)
    # The second try found what the first had paid for.
    assert 0 < run.embedding_batches["embedded"] < len(TEXTS)
    paid_once(openai_api)


@pytest.fixture
def proxied(films: Workshop, mongod_uri: str) -> Iterator[CutProxy]:
    ((_, port),) = parse_uri(mongod_uri)["nodelist"]
    with cut_proxy(port) as proxy:
        uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        films.configure({"mongodb": {"deployment": {"server": {"uri": uri}}, "timeout_seconds": 3}})
        yield proxy


def test_a_connection_lost_while_it_embeds_is_waited_out(
    films: Workshop, openai_api: Any, proxied: CutProxy
):
    def falls(request: Any) -> float:
        if len(openai_api.requests) == 6:
            proxied.fall()
        return 0.0

    def back() -> None:
        proxied.down = False

    openai_api.behaviour.latency = falls
    with when_tried_again(back) as said:
        run = films.run()
    assert run.success, run.failures
    assert again(run.run_id) == ["embedding_batches"]
    assert "cannot be reached" in said[0]
    assert len(films.stored()) == len(TEXTS)
    # The request that was on its way as the connection fell may have been given up.
    paid_once(openai_api, but=TEXTS[25:30])


def test_what_lasts_fails_by_its_sentence_after_so_many_tries(films: Workshop, openai_api: Any):
    openai_api.behaviour.fault_when = lambda request: 503
    run = films.run()
    assert again(run.run_id) == ["embedding_batches"] * 2
    (failure,) = run.failures
    assert failure.startswith("openai model text-embedding-3-small: ")
    assert "HTTP 503" in failure


def test_what_asks_for_a_person_is_not_tried_again(films: Workshop, openai_api: Any):
    openai_api.behaviour.fault_when = lambda request: 401
    run = films.run()
    assert not run.success
    assert again(run.run_id) == []
    assert "OPENAI_API_KEY" in run.failures[0]


def test_a_run_that_waited_while_another_planned_goes_no_further(films: Workshop, openai_api: Any):
    """Its plan is the older one: it would write what the other has replaced."""
    behaviour = openai_api.behaviour
    behaviour.fault_when = lambda request: 503 if len(openai_api.requests) > 6 else None
    others = []

    def another() -> None:
        behaviour.fault_when = None
        expire_lease(films)
        films.write([{"_id": 1, "text": "another text", "kind": "film"}])
        others.append(films.run())

    with when_tried_again(another):
        run = films.run()
    assert [other.success for other in others] == [True], others[0].failures
    assert not run.success
    assert f"run {others[0].run_id} has planned the work" in run.failures[0]
    assert [each["text"] for each in films.stored().values()] == ["another text"]


def test_every_step_after_the_plan_asks_whether_it_is_the_newest(
    films: Workshop, monkeypatch: pytest.MonkeyPatch
):
    """Between two steps a run holds nothing where they wait for a worker."""
    asked, check = [], Parts.check_newest

    def checked(o: Parts) -> None:
        asked.append(o.plan.id)
        check(o)

    monkeypatch.setattr(Parts, "check_newest", checked)
    run = films.run()
    assert run.success, run.failures
    assert asked == [run.source_documents["plan"]] * 3
    newest = films.run("source_documents")
    assert films.run("embedding_batches", "stored_vectors", "search_index").success
    assert asked[3:] == [newest.source_documents["plan"]] * 2, "the first chooses the newest"


def test_which_errors_may_pass():
    tries = Tries(0, True, RunsResource())
    passing = [
        AutoReconnect("connection closed"),
        OperationFailure("not primary", 10107),
        explain(AutoReconnect("connection closed"), "the server"),
        ProviderError("down", passing=True),
    ]
    lasting = [
        OperationFailure("not authorized", 13),
        explain(OperationFailure("not authorized", 13), "the server"),
        ProviderError("no such model"),
        ConfigurationError("wrong"),
        LeaseError("overtaken"),
        DeploymentError("wrong password"),
        KeyError("a fault of ours"),
        KeyboardInterrupt(),
    ]
    assert [tries.worth(error) for error in passing] == [True] * len(passing)
    assert [tries.worth(error) for error in lasting] == [False] * len(lasting)
    spent = Tries(3, False, RunsResource())
    assert not any(map(spent.worth, passing))


def test_every_pause_is_twice_the_one_before():
    runs = RunsResource(retry_pause="30s")
    assert [runs.pause(n).total_seconds() for n in range(3)] == [30, 60, 120]
