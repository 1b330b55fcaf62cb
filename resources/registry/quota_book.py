"""What is reserved of a quota, by the moment until which it may be used: arithmetic alone.

A provider counts a minute's requests from whatever moment it likes, and each when it gets there:
at some moment between sent and answered. So whatever is reserved counts from when it may first be
used until a minute after it may last have got there. A reservation is given its place at once,
later ones behind it: nobody asks twice, and who dies waiting loses that alone.

Times are seconds of one clock, the server's; nothing here asks for it.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from resources.embedders.quota import NOTHING, Amount, Change, Place

Limits = tuple[int | None, int | None]
"""Of requests and tokens in a window; None where there is none."""


@dataclass(frozen=True)
class Terms:
    """How a quota is kept.

    Attributes:
        window: Seconds that the limits are for, wherever they begin.
        transit: How long a request may take to get there, if it is not answered sooner.
        slot: To what moments are rounded, up.
        life: How long a reservation may be used, from its beginning.
        burst: How much may be used at once by who was idle, in seconds' worth.
        at_once: What a process reserves at once, in seconds' worth.
    """

    window: float = 60.0
    transit: float = 5.0
    slot: float = 0.25
    life: float = 2.0
    burst: float = 6.0
    at_once: float = 2.0

    def slot_of(self, moment: float) -> int:
        """The one that ends after it, or with the next tick."""
        return math.floor(moment / self.slot) + 1

    def end(self, slot: int) -> float:
        return slot * self.slot


@dataclass(frozen=True)
class Wanted:
    """Limits as a pipeline last asked for them."""

    limits: Limits
    at: float


MINUTE = Terms()


@dataclass
class Book:
    """One quota.

    Attributes:
        at: When it was written last.
        epoch: Changes when the clock has been set back, and slots have other numbers.
        slots: What is reserved or was used, by when it got there at the latest.
        spent: Until when each is spent, if it is spent evenly.
        wanted: Limits by pipeline.
    """

    terms: Terms = MINUTE
    at: float = 0.0
    epoch: int = 0
    slots: dict[int, Amount] = field(default_factory=dict)
    spent: tuple[float, float] = (0.0, 0.0)
    wanted: dict[str, Wanted] = field(default_factory=dict)

    def turn_to(self, now: float) -> None:
        """Forget what counts no more; a clock that was set back makes nothing older."""
        back = math.floor((self.at - now) / self.terms.slot)
        if back > 0:
            seconds = back * self.terms.slot
            self.epoch += 1
            self.slots = {slot - back: amount for slot, amount in self.slots.items()}
            self.spent = (self.spent[0] - seconds, self.spent[1] - seconds)
            self.wanted = {
                name: Wanted(each.limits, each.at - seconds) for name, each in self.wanted.items()
            }
        self.at = now
        gone = now - self.terms.window
        self.slots = {
            slot: amount for slot, amount in self.slots.items() if self.terms.end(slot) > gone
        }
        self.wanted = {
            name: each
            for name, each in self.wanted.items()
            if each.at > now - 2 * self.terms.window
        }

    def agree(self, pipeline: str, limits: Limits) -> Limits:
        """What holds while pipelines differ: the smallest of what any of them asked for lately."""
        self.wanted[pipeline] = Wanted(limits, self.at)
        sides = zip(*(each.limits for each in self.wanted.values()), strict=True)
        requests, tokens = (_smallest(side) for side in sides)
        return requests, tokens

    def reserve(self, asked: Amount, limits: Limits, life: float) -> tuple[float, int]:
        """Count an amount from the first moment on at which it fits; that moment, and its slot.

        What is more than a whole window goes when all before it counts no more.
        """
        begin, spent = self.at, list(self.spent)
        for which, limit in enumerate(limits):
            if limit is None or not asked[which]:
                continue
            amount = min(asked[which], limit)
            cost = amount * (self.terms.window + self.terms.slot) / limit
            spent[which] = max(spent[which], self.at) + cost
            begin = max(begin, spent[which] - max(self.terms.burst, cost))
            begin = max(begin, self._fits(which, amount, limit))
        slot = self.terms.slot_of(begin + life + self.terms.transit)
        self._add(slot, asked)
        self.spent = (spent[0], spent[1])
        return begin, slot

    def change(self, change: Change, last: float | None, limits: Limits) -> Place:
        """Count something reserved as what it was; where it is counted from now on.

        Args:
            change: What has come of it.
            last: When the last of it got there, at the latest.
            limits: That hold now.
        """
        epoch, slot = change.place
        if epoch != self.epoch or self.terms.end(slot) <= self.at - self.terms.window:
            return change.place  # as it was, until it counts no more
        self._add(slot, NOTHING.minus(change.booked))
        slot = slot if last is None else self.terms.slot_of(last)
        self._add(slot, change.used)
        spent = list(self.spent)
        for which, limit in enumerate(limits):
            if limit is not None:
                less = change.booked[which] - change.used[which]
                spent[which] -= less * (self.terms.window + self.terms.slot) / limit
        self.spent = (spent[0], spent[1])
        return epoch, slot

    def _fits(self, which: int, amount: int, limit: int) -> float:
        """From when on an amount is within a limit, whatever window is looked at."""
        over = sum(each[which] for each in self.slots.values()) + amount - limit
        begin = self.at
        for slot in sorted(self.slots):
            if over <= 0:
                break
            over -= self.slots[slot][which]
            begin = self.terms.end(slot) + self.terms.window
        return begin

    def _add(self, slot: int, amount: Amount) -> None:
        found = self.slots.get(slot, NOTHING).plus(amount)
        if found == NOTHING:
            self.slots.pop(slot, None)
        else:
            self.slots[slot] = found


def at_once(limits: Limits, terms: Terms) -> Amount:
    """What a process reserves at once; of what is not limited, whatever it is likely to need."""
    requests, tokens = (
        sys.maxsize if limit is None else max(1, math.floor(limit * terms.at_once / terms.window))
        for limit in limits
    )
    return Amount(requests, tokens)


def differing(
    pipeline: str, limits: Limits, wanted: Mapping[str, Wanted]
) -> Iterable[tuple[str, Limits]]:
    """Other pipelines that ask for other limits."""
    for name, each in sorted(wanted.items()):
        if name != pipeline and each.limits != limits:
            yield name, each.limits


def _smallest(limits: Sequence[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
