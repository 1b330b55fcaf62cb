"""Silence, and runs that end in the middle: what was answered is kept, what was sent is known."""

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import pytest

from resources.core.errors import ProviderError
from resources.embedders import remote
from resources.embedders.remote import RemoteEmbedder
from tests.resources.embedders.test_remote import expected

BATCHES = [(number, [f"{number} {row}" for row in range(6)]) for number in range(20)]


class MemoryJournal:
    """What the registry does in MongoDB."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.estimates: dict[str, int] = {}
        self.bills: dict[str, int | None] = {}
        self.texts = 0

    def opened(self, request: str, *, texts: int, tokens: int) -> None:
        assert threading.current_thread() is not threading.main_thread()
        with self._lock:
            assert request not in self.estimates
            self.estimates[request] = tokens
            self.texts += texts

    def closed(self, request: str, *, tokens: int | None) -> None:
        with self._lock:
            assert request in self.estimates
            assert request not in self.bills
            self.bills[request] = tokens

    @property
    def open(self) -> set[str]:
        return self.estimates.keys() - self.bills.keys()

    def bounds(self) -> tuple[int, int]:
        unknown = self.open | {name for name, tokens in self.bills.items() if tokens is None}
        closed = sum(tokens or 0 for tokens in self.bills.values())
        return closed, closed + sum(self.estimates[name] for name in unknown)


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


# Silence.


def test_three_connections_that_never_answer_stop_nobody(api, clock, connect):
    """Of eight requests in flight; the others finish meanwhile, and their texts are stored."""
    texts = [f"text {number}" for number in range(200)]
    silent = {"text 3", "text 40", "text 77"}
    others = len(texts) // 4 - 3
    start, while_silent = clock.now, threading.Event()

    def fault(request: Any) -> Any:
        if not silent.isdisjoint(request.texts):
            return "hang"
        done = sum(1 for call in api.requests if call.served)
        if done >= others // 2 and clock.now - start < 60:
            while_silent.set()
        return None

    api.behaviour.fault_when = fault
    embedder = connect(api, max_texts=4, timeout_seconds=60, max_failures=5)
    reply = embedder.embed(texts, input_type="document")
    assert while_silent.is_set(), "others were served before any time-out"
    refused = {texts[at]: refusal for at, refusal in reply.refused.items()}
    assert refused.keys() == silent
    assert not reply.unfinished
    for refusal in refused.values():
        assert (refusal.reason, refusal.lasting) == ("no answer within 60 seconds", False)
    rest = [at for at, text in enumerate(texts) if text not in silent]
    assert np.array_equal(reply.vectors[rest], expected(api, [texts[at] for at in rest]))
    hangs = [request for request in api.requests if request.fault == "hang"]
    assert len(hangs) <= 3 * (2 + 1 + 2), "two time-outs together, one when cut, two alone"


def test_a_connection_that_answers_the_second_time_costs_no_text(api, clock, connect):
    api.behaviour.fail_next("hang", "hang", "stall")
    texts = [f"text {number}" for number in range(24)]
    reply = connect(api, max_texts=3).embed(texts, input_type="document")
    assert not reply.refused
    assert np.array_equal(reply.vectors, expected(api, texts))


def test_a_body_that_trickles_in_for_ever_is_a_time_out(api, connect):
    """Bytes keep coming: only a limit for the whole request ends it."""
    api.behaviour.fault_when = lambda _: "drip"
    with pytest.raises(ProviderError, match="no answer within 1 seconds"):
        connect(api, timeout_seconds=1).embed(["a text"], input_type="document")


# Breaking off.


def broken_off(embedder: RemoteEmbedder, after: int) -> Iterator[Any]:
    """Replies as a run gets them that ends in the middle; each is written but the last."""
    replies = embedder.embed_batches(BATCHES)
    for key, reply in islice(replies, after):
        embedder.written(key)
        yield key, reply
    next(replies)
    replies.close()
    yield from embedder.salvage()


def test_a_run_that_breaks_off_keeps_what_was_answered(api, connect):
    def slow(request: Any) -> float:
        # Of every batch one request stays under way, but for the first four.
        return 60 if int(request.texts[0].split()[0]) >= 4 and "5" in request.texts[-1][-1] else 0

    api.behaviour.latency = slow
    embedder = connect(api, max_texts=2, concurrency=8)
    kept: dict[str, np.ndarray] = {}
    for key, reply in broken_off(embedder, after=3):
        texts = dict(BATCHES)[key]
        left_out = reply.unfinished.union(reply.refused)
        assert len(left_out) < len(texts), "nothing is nothing to salvage"
        for at in set(range(len(texts))) - left_out:
            assert texts[at] not in kept
            kept[texts[at]] = reply.vectors[at]
    assert set(kept) == api.texts_served.keys()
    for text, vector in kept.items():
        assert np.array_equal(vector, expected(api, [text])[0])
    assert list(embedder.salvage()) == []


@pytest.mark.parametrize("under_way", range(1, 9))
def test_what_is_under_way_as_a_run_breaks_off_is_waited_for_and_nothing_else_begins(
    api, connect, monkeypatch, under_way: int
):
    monkeypatch.setattr(remote, "_GRACE_SECONDS", 60.0)  # a busy machine is no fault
    ended, stuck = threading.Event(), threading.Semaphore(0)
    waiting: set[int] = set()

    def held(request: Any) -> bool:
        if request.texts[0].startswith("0 "):
            return False
        if request.number not in waiting:
            waiting.add(request.number)
            stuck.release()
        return not ended.is_set()

    api.behaviour.hold = held
    embedder = connect(api, max_texts=1, concurrency=under_way)
    replies = embedder.embed_batches(BATCHES)
    key, _ = next(replies)
    embedder.written(key)
    for _ in range(under_way):
        stuck.acquire()
    replies.close()
    threading.Timer(0.2, ended.set).start()
    kept = set(dict(BATCHES)[key])
    for key, reply in embedder.salvage():
        for at, text in enumerate(dict(BATCHES)[key]):
            if at not in reply.unfinished:
                kept.add(text)
                assert np.array_equal(reply.vectors[at], expected(api, [text])[0])
    assert kept == api.texts_billed.keys()
    assert len(waiting) == under_way


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="interrupts a thread")
def test_a_run_that_is_interrupted_twice_keeps_what_was_answered(
    api, connect, monkeypatch, request
):
    # Whatever ran in this process before may have left another handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    main, answered = threading.get_ident(), remote._answered

    async def interrupted(seconds: float) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        await answered(600.0)

    monkeypatch.setattr(remote, "_answered", interrupted)
    stuck = threading.Event()

    def held(request: Any) -> bool:
        if "3 0" in request.texts:
            stuck.set()
        return stuck.is_set()

    api.behaviour.hold = held
    embedder = connect(api, max_texts=1, concurrency=1)
    for key, _ in embedder.embed_batches(BATCHES):
        if key == 2:
            stuck.wait()
            break
        embedder.written(key)
    salvaged = embedder.salvage()
    key, reply = next(salvaged)
    assert (key, reply.unfinished) == (2, set())
    with pytest.raises(KeyboardInterrupt):
        next(salvaged)
    assert set(api.texts_served) == {text for _, texts in BATCHES[:3] for text in texts}


def test_an_error_in_the_source_of_batches_loses_nothing(api, connect):
    def source() -> Iterator[Any]:
        yield from BATCHES[:3]
        raise RuntimeError("the lease is gone")

    embedder = connect(api, concurrency=8)
    with pytest.raises(RuntimeError, match="the lease is gone"):
        list(embedder.embed_batches(source()))
    for key, reply in embedder.salvage():
        done = sorted(set(range(6)) - reply.unfinished)
        assert np.array_equal(reply.vectors[done], expected(api, dict(BATCHES)[key])[done])


def test_nothing_is_salvaged_of_what_was_handed_out_and_taken(api, connect):
    embedder = connect(api)
    assert list(embedder.salvage()) == []
    assert len(dict(embedder.embed_batches(BATCHES))) == 20
    assert list(embedder.salvage()) == []


# The journal.


def journalled(api: Any, journal: MemoryJournal, connect: Any, **settings: Any) -> RemoteEmbedder:
    return connect(api, journal=journal, **settings)


def test_the_journal_brackets_the_bill(api, connect, journal):
    api.behaviour.poison = ["7 3"]
    api.behaviour.fail_next(500, "reset", 429, "short", "broken_json", "cut", "no_usage", 503)
    embedder = journalled(api, journal, connect, max_texts=2)
    replies = dict(embedder.embed_batches(BATCHES))
    closed, most = journal.bounds()
    assert closed <= api.tokens_billed <= most
    assert len(journal.estimates) == len(api.requests)
    ids = [name for reply in replies.values() for name in reply.usage.request_ids]
    assert sorted(ids) == sorted(journal.estimates)
    unanswered = {"reset", "cut"}
    assert len(journal.open) == sum(call.fault in unanswered for call in api.requests)


def test_a_request_is_written_down_before_it_is_sent(api, connect, journal):
    seen: list[int] = []

    def check(request: Any) -> None:
        seen.append(len(api.requests) - len(journal.estimates))

    api.behaviour.fault_when = check
    list(journalled(api, journal, connect, max_texts=1).embed_batches(BATCHES[:5]))
    assert len(seen) == 30
    assert max(seen) <= 0
    assert not journal.open


def test_a_run_that_breaks_off_leaves_no_more_open_than_it_had_in_flight(api, connect, journal):
    stuck = threading.Semaphore(0)

    def slow(request: Any) -> float:
        if request.number < 8:
            return 0
        stuck.release()
        return 600

    api.behaviour.latency = slow
    embedder = journalled(api, journal, connect, max_texts=2, concurrency=4, timeout_seconds=600)
    replies = embedder.embed_batches(BATCHES)
    next(replies)
    for _ in range(4):
        stuck.acquire()
    replies.close()
    list(embedder.salvage())
    assert len(journal.open) == 4
    closed, most = journal.bounds()
    assert closed <= api.tokens_billed <= most


def test_a_journal_that_cannot_write_stops_the_request(api, connect, journal, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no server")

    monkeypatch.setattr(journal, "opened", fail)
    embedder = journalled(api, journal, connect)
    with pytest.raises(OSError, match="no server"):
        list(embedder.embed_batches(BATCHES[:2]))
    assert not api.requests


def test_what_was_answered_is_kept_though_it_cannot_be_noted(api, connect, journal, monkeypatch):
    closed, failed = journal.closed, threading.Event()

    def fail(request: str, *, tokens: int | None) -> None:
        if len(api.texts_served) > 3:
            failed.set()
            raise OSError("no server")
        closed(request, tokens=tokens)

    monkeypatch.setattr(journal, "closed", fail)
    embedder = journalled(api, journal, connect, max_texts=1)
    kept: set[str] = set()
    texts = dict(BATCHES)
    with suppress(OSError):
        for key, _ in embedder.embed_batches(BATCHES):
            kept.update(texts[key])
            embedder.written(key)
    assert failed.is_set()
    for key, reply in embedder.salvage():
        kept.update(text for at, text in enumerate(texts[key]) if at not in reply.unfinished)
    assert kept == api.texts_served.keys()


def test_an_outage_of_silence_ends_the_run_soon(api, clock, connect):
    api.behaviour.fault_when = lambda _: "hang"
    with pytest.raises(ProviderError, match="no answer within 60 seconds"):
        connect(api).embed(["a text"], input_type="document")
    assert len(api.requests) <= 2 + 2
