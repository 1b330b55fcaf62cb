"""`spending`: days in UTC, each ledger once, and sums that come to the same however grouped."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.operations import spending as module
from pipelines.operations.spending import KEYS, spending
from resources.core.days import Days
from resources.registry.ledger import Ledger, Spend
from tests.pipelines.operations.conftest import Town

ROWS = st.lists(
    st.builds(
        Spend,
        day=st.sampled_from(["2026-11-01", "2026-11-02", "2026-12-01"]),
        pipeline=st.sampled_from(["a", "b"]),
        model=st.sampled_from(["x", "y", "z"]),
        texts=st.integers(0, 10**9),
        tokens=st.integers(0, 10**12),
        cost_usd=st.floats(0, 1e6),
        requests=st.integers(0, 10**6),
    )
)


@given(rows=ROWS)
def test_however_grouped_the_sums_come_to_the_same(rows: list[Spend]):
    total = module._total(rows)
    for size in (1, 2, 3):
        for by in combinations(KEYS, size):
            groups = module._grouped(rows, by)
            assert all(tuple(group.by) == by for group in groups)
            names = [tuple(group.by.values()) for group in groups]
            assert len(set(names)) == len(names)
            for name, value in total.items():
                sums = [group.sums[name] for group in groups]
                if isinstance(value, int):
                    assert sum(sums) == value
                else:
                    assert fsum(sums) == pytest.approx(value, rel=1e-12)


@given(
    first=st.dates(date(1970, 1, 2), date(2500, 1, 1)), length=st.integers(0, 400),
    second=st.integers(-2, 400 * 86_400),
)  # fmt: skip
def test_days_are_whole_days_in_utc(first: date, length: int, second: int):
    days = Days(first, first + timedelta(days=length))
    at = datetime.combine(first, datetime.min.time(), UTC) + timedelta(seconds=second)
    within = days.limits["$gte"] <= at < days.limits["$lt"]
    assert within == (days.names["$gte"] <= f"{at:%Y-%m-%d}" <= days.names["$lte"])


@pytest.mark.parametrize(
    ("month", "last"),
    [("2026-02-01", "2026-02-28"), ("2024-02-17", "2024-02-29"), ("2026-12-31", "2026-12-31")],
)
def test_a_month_has_all_its_days(month: str, last: str):
    days = Days.of_month(date.fromisoformat(month))
    assert (days.first, days.last) == (
        date.fromisoformat(month).replace(day=1), date.fromisoformat(last),
    )  # fmt: skip
    assert Days.of_month(date.max).last == date.max
    assert "$lt" not in Days.of_month(date.max).limits


@pytest.fixture
def ledger(town: Town) -> Iterator[None]:
    """With entries around midnight, and a request that is still open."""
    batches = town.client[town.database]["embedding_spend"]
    before = {"_id": {"$nin": [f"t{n}" for n in range(9)]}}
    moments = ["2026-10-31T23:59:59.999", "2026-11-01T00:00", "2026-11-30T23:59:59.999",
               "2026-12-01T00:00"]  # fmt: skip
    for n, at in enumerate(moments):
        entry = {
            "pipeline": "films" if n % 2 else "elsewhere", "model": "m", "provider": "p",
            "space": "s", "run": "r", "batch": f"t{n}", "texts": 1, "tokens": 10**n,
            "cost_usd": 0.1, "requests": 1, "retries": 0,
            "at": datetime.fromisoformat(at).replace(tzinfo=UTC),
        }  # fmt: skip
        batches.replace_one({"_id": f"t{n}"}, entry, upsert=True)
    request = {"pipeline": "films", "model": "m", "texts": 1, "estimate": 7, "space": "s",
               "at": datetime(2026, 11, 30, 23, tzinfo=UTC)}  # fmt: skip
    town.client[town.database]["embedding_requests"].replace_one({"_id": "q"}, request, upsert=True)
    assert batches.count_documents(before) >= 1, "and that of the run"
    yield
    batches.delete_many({"_id": {"$in": [f"t{n}" for n in range(9)]}})
    town.client[town.database]["embedding_requests"].delete_one({"_id": "q"})


def test_a_month_and_since_are_utc(town: Town, ledger: object):
    november = spending(days=Days.of_month(date(2026, 11, 5)), by=["model"])
    (of_m,) = [each for each in november.embedding if each.by == {"model": "m"}]
    assert of_m.sums["tokens"] == 10 + 100
    assert (of_m.sums["unanswered"], of_m.sums["unanswered_tokens"]) == (1, 7)
    since = spending(days=Days(date(2026, 12, 1)), by=["day"])
    assert [each.by["day"] for each in since.embedding] == ["2026-12-01"]
    everything = spending(by=["pipeline"])
    sums = {each.by["pipeline"]: each.sums["tokens"] for each in everything.embedding}
    assert sums["elsewhere"] == 101, "whoever spent it: the ledger is the deployment's"
    assert everything.embedding_total["tokens"] == sum(sums.values())


def test_each_ledger_is_read_once_and_what_cannot_be_is_said(
    town: Town, ledger: object, monkeypatch: pytest.MonkeyPatch
):
    town.add("same")
    town.add_dead("dead")
    read, spend = [], Ledger.spend
    monkeypatch.setattr(Ledger, "spend", lambda *a, **k: read.append(a) or spend(*a, **k))
    once = spending()
    assert len(read) == 1
    assert list(once.unseen) == ["dead"]
    assert "cannot be reached" in once.unseen["dead"].why
    assert (
        once.embedding_total["tokens"] == spending(["films"], whole=True).embedding_total["tokens"]
    )
    mine = spending(["films"], by=["pipeline"])
    assert [each.by for each in mine.embedding] == [{"pipeline": "films"}]
    for name in ("same", "dead"):
        (town.folder / "pipelines" / f"{name}.py").unlink()
