"""A step that takes too long is interrupted, keeps what it has paid for, and says so."""

import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.time_limit import limited
from resources.core.errors import ConfigurationError
from tests.workshop import Workshop, shared_instance

TEXTS = [f"text number {n}" for n in range(40)]
LONG = 600.0
"""Seconds that nobody waits."""

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="a call that waits cannot be interrupted here"
)


@pytest.fixture
def films(
    tmp_path: Path, mongod_uri: str, openai_api: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", "none")
    made.write([{"_id": n, "text": text, "kind": "film"} for n, text in enumerate(TEXTS)])
    provider = {"base_url": openai_api.url, "dimensions": 64, "concurrency": 1, "max_texts": 5}
    embedder = {"provider": {"openai": provider}, "max_batch_chunks": 5}
    made.configure({"embedder": embedder})
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """As in a terminal: a shell lets what it starts in the background ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class ByHand:
    """A timer of which a test says when its time has come, whatever the machine is at."""

    current: Callable[[], None]

    def __init__(self, seconds: float, fire: Callable[[], None]) -> None:
        assert seconds == 3600
        ByHand.current = fire

    def start(self) -> None: ...
    def cancel(self) -> None: ...
    def join(self) -> None: ...


def test_a_step_over_its_limit_fails_by_a_sentence_and_keeps_what_was_answered(
    films: Workshop, openai_api: Any, monkeypatch: pytest.MonkeyPatch
):
    behaviour = openai_api.behaviour

    def latency(request: Any) -> float:
        if len(openai_api.requests) < 5:
            return 0.0
        ByHand.current()
        return LONG

    behaviour.latency = latency
    films.configure({"runs": {"max_step_runtime": "1h", "max_runtime": "1h30m"}})
    with monkeypatch.context() as patch:
        patch.setattr("assets.time_limit.Timer", ByHand)
        run = films.run()
    (failure,) = run.failures
    assert failure.startswith(
        "embedding_batches took longer than `runs: max_step_runtime: 1h` and was interrupted"
    )
    # Whoever launched it, Dagster's daemon knows how long the run may take.
    assert run.tags["dagster/max_runtime"] == "5400"
    again = shared_instance().get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY
    )
    assert not again.records

    behaviour.latency = 0.0
    run = films.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] < len(TEXTS)
    assert dict(openai_api.texts_served) == dict.fromkeys(TEXTS, 1)
    assert len(films.stored()) == len(TEXTS)


def nothing(line: str) -> None:
    raise AssertionError(line)


def test_what_ends_in_time_is_not_interrupted_afterwards():
    before = set(threading.enumerate())
    for _ in range(50):
        with limited("1h", "a step", nothing):
            pass
    new = set(threading.enumerate()) - before
    assert not [each for each in new if isinstance(each, threading.Timer)]


def test_an_interrupt_of_somebody_else_stays_one():
    with pytest.raises(KeyboardInterrupt), limited("1h", "a step", nothing):
        signal.raise_signal(signal.SIGINT)


def test_a_wait_is_interrupted():
    with (
        pytest.raises(ConfigurationError, match="a step took longer than `runs: max_step_runtime"),
        limited("1s", "a step", nothing),
    ):
        threading.Event().wait(LONG)


def test_a_step_in_a_thread_of_its_own_is_told_that_it_cannot_be():
    said: list[str] = []

    def work(done: Callable[[], None]) -> None:
        with limited("1s", "a step", said.append):
            done()

    done = threading.Event()
    threading.Thread(target=work, args=(done.set,)).start()
    assert done.wait(60)
    assert said == [
        "`runs: max_step_runtime` cannot end a step: it runs in a thread of its own here"
    ]
