"""Which searchers are open, and that none keeps the others from answering.

The searchers are stand-ins that block and fail when told to; real ones are asked in `test_api`.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest

from pipelines.operations.search import Searcher
from pipelines.serving import searchers as module
from pipelines.serving.searchers import Searchers
from pipelines.serving.sentences import Busy, TooSlow
from resources.core.errors import ConfigurationError, DeploymentError, QueryRefused


class House:
    """Opens pipelines by name, and knows which are open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.opened: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.let_go = threading.Event()
        self.faults: dict[str, list[Exception]] = {}

    @contextmanager
    def searcher(self, name: str) -> Iterator[Searcher]:
        if name == "slow to open":
            assert self.let_go.wait(60)
        if self.faults.get(name):
            raise self.faults[name].pop()
        with self.lock:
            self.opened[name] += 1
            self.open[name] += 1
        try:
            yield cast(Searcher, name)
        finally:
            with self.lock:
                assert not self.asked[name], "closed while it was asked"
                self.open[name] -= 1

    def question(self, wait: bool = False) -> Callable[[Searcher], str]:
        def answered(searcher: Searcher) -> str:
            name = cast(str, searcher)
            with self.lock:
                assert self.open[name]
                self.asked[name] += 1
            try:
                assert not wait or self.let_go.wait(60)
                return name
            finally:
                with self.lock:
                    self.asked[name] -= 1

        return answered


@pytest.fixture
def house() -> Iterator[House]:
    found = House()
    yield found
    found.let_go.set()


async def no_more(found: Counter[str], names: set[str]) -> None:
    """Wait until exactly these are open."""
    async with asyncio.timeout(30):
        while {name for name, count in found.items() if count} != names:
            await asyncio.sleep(0.01)


def test_a_pipeline_is_opened_once_for_all_who_ask(house: House):
    async def main() -> None:
        searchers = Searchers(house.searcher)
        answers = [searchers.ask("films", house.question()) for _ in range(50)]
        assert await asyncio.gather(*answers) == ["films"] * 50
        assert house.opened == {"films": 1}
        assert await searchers.close()
        assert not house.open["films"]

    asyncio.run(main())


def test_one_that_hangs_keeps_only_its_own_waiting(house: House):
    async def main() -> None:
        searchers = Searchers(house.searcher, threads=2, waiting=5)
        stuck = [
            asyncio.ensure_future(searchers.ask(name, house.question(wait=True)))
            for name in ["hanging"] * 5 + ["slow to open"] * 5
        ]
        await asyncio.sleep(0.1)
        for name in ("hanging", "slow to open"):
            with pytest.raises(Busy, match=f"5 questions to {name} wait already"):
                await searchers.ask(name, house.question())
        for _ in range(20):
            assert await asyncio.wait_for(searchers.ask("films", house.question()), 10) == "films"
        house.let_go.set()
        assert await asyncio.gather(*stuck) == ["hanging"] * 5 + ["slow to open"] * 5
        assert await searchers.ask("hanging", house.question()) == "hanging"
        assert await searchers.close()

    asyncio.run(main())


def test_whoever_asked_longest_ago_makes_room_and_nobody_who_is_asked_is_closed(house: House):
    async def main() -> None:
        searchers = Searchers(house.searcher, most=2)
        long = asyncio.ensure_future(searchers.ask("a", house.question(wait=True)))
        await searchers.ask("b", house.question())
        await searchers.ask("c", house.question())
        await no_more(house.open, {"a", "c"})
        held = [asyncio.ensure_future(searchers.ask(n, house.question(wait=True))) for n in "cde"]
        await no_more(house.open, {"a", "c", "d", "e"})
        house.let_go.set()
        assert await long == "a"
        assert await asyncio.gather(*held) == ["c", "d", "e"]
        await no_more(house.open, {"d", "e"})
        assert await searchers.close()
        assert not any(house.open.values())

    asyncio.run(main())


def test_one_that_cannot_be_opened_is_tried_anew(house: House):
    house.faults["films"] = [ConfigurationError("no key")]

    async def main() -> None:
        searchers = Searchers(house.searcher)
        asked = [searchers.ask("films", house.question()) for _ in range(3)]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, ConfigurationError)
        assert await searchers.ask("films", house.question()) == "films"
        assert await searchers.close()

    asyncio.run(main())


def test_a_deployment_that_moved_is_found_again(house: House):
    faults: list[Exception] = [DeploymentError("gone")]

    def question(searcher: Searcher) -> str:
        if faults:
            raise faults.pop()
        return "found"

    async def main() -> None:
        searchers = Searchers(house.searcher)
        with pytest.raises(DeploymentError):  # just opened: opening it again would not help
            await searchers.ask("films", question)
        assert await searchers.ask("films", question) == "found"
        faults.append(DeploymentError("gone"))
        assert await searchers.ask("films", question) == "found"
        assert house.opened["films"] == 3
        faults.append(QueryRefused("no such field"))
        with pytest.raises(QueryRefused):
            await searchers.ask("films", question)
        assert house.opened["films"] == 3
        assert await searchers.close()

    asyncio.run(main())


def test_whoever_waits_too_long_is_told_and_the_search_still_counts(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "CLOSING_SECONDS", 0.2)

    async def main() -> None:
        searchers = Searchers(house.searcher, seconds=0.1, waiting=1)
        with pytest.raises(TooSlow, match="films has not answered"):
            await searchers.ask("films", house.question(wait=True))
        with pytest.raises(Busy):
            await searchers.ask("films", house.question())
        assert not await searchers.close()  # nothing can stop it
        assert house.open["films"]
        monkeypatch.setattr(module, "CLOSING_SECONDS", 60)
        house.let_go.set()
        assert await searchers.close()
        assert not house.open["films"]

    asyncio.run(main())


def test_a_storm_of_questions_leaves_nothing_open(house: House):
    async def main() -> None:
        searchers = Searchers(house.searcher, most=2, threads=2)
        house.faults = {name: [DeploymentError("gone")] * 3 for name in "abc"}

        async def ask(at: int) -> Any:
            await asyncio.sleep(at % 7 / 1000)
            with suppress(DeploymentError):
                return await searchers.ask("abcde"[at % 5], house.question())

        answers = await asyncio.gather(*(ask(at) for at in range(300)))
        assert sum(answer is not None for answer in answers) >= 200
        assert await searchers.close()
        assert not any(house.open.values())

    asyncio.run(main())
