"""What a sensor keeps from tick to tick, as its cursor: no settings, and nothing secret."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bson import json_util

from resources.core.keys import decode, key
from resources.sources.changes import fits

VERSION = 1
DOUBLINGS = 16
"""Of a pause, at most: after years of failures it would be no number any more."""


@dataclass(frozen=True)
class Wanted:
    """What is to be compared.

    Attributes:
        ids: Of documents that may have changed, as run configs have them.
        whole: Why the whole source is; empty where the ids do.
    """

    ids: tuple[str, ...] = ()
    whole: str = ""

    def __bool__(self) -> bool:
        return bool(self.ids or self.whole)

    def by_key(self) -> dict[str, str]:
        return {key(decode(each)): each for each in self.ids}

    def joined(self, other: "Wanted") -> "Wanted":
        """Both; of more ids than one run takes, the whole source."""
        if whole := self.whole or other.whole:
            return Wanted(whole=whole)
        ids = tuple({**self.by_key(), **other.by_key()}.values())
        return Wanted(ids) if fits(ids) else Wanted(whole="more has changed than one run takes")


@dataclass(frozen=True)
class State:
    """Between two ticks.

    Attributes:
        of: What is watched; of anything else nothing here holds.
        place: In the change stream, or the state of files; None before the first look.
        wanted: Seen, and not handed to a run yet.
        run_key: Of the run that has been asked for, until it has succeeded; `handed` is its work.
        sought: Ticks in which there was no run of that key.
        failures: Of runs, one after the other; before `after`, in seconds since 1970, is no other.
        series, number: Of the hand-overs, each known as `series:number`.
        covered: Number of the last one that has succeeded.
        behind: Ids handed over since the stream was last read to its end.
        settings: Name of the settings that the last run was asked for with.
        looked: When it was last asked, in seconds since 1970, whether a run is due besides.
        said: A sentence that was logged, and is not to be again.
    """

    of: str
    place: Any = None
    wanted: Wanted = Wanted()
    run_key: str = ""
    handed: Wanted = Wanted()
    sought: int = 0
    failures: int = 0
    after: float = 0.0
    series: str = ""
    number: int = 0
    covered: int = 0
    behind: int = 0
    settings: str = ""
    looked: float = 0.0
    said: str = ""
    fresh: bool = field(default=False, compare=False)

    def to_cursor(self) -> str:
        values = {name: value for name, value in asdict(self).items() if name != "fresh"}
        return json_util.dumps({"version": VERSION, **values})

    @classmethod
    def of_cursor(cls, cursor: str | None, of: str) -> "State":
        """What a cursor says; one that says nothing of `of` is as none, and `fresh`."""
        try:
            values = json_util.loads(cursor or "")
            if values.pop("version") != VERSION or values["of"] != of:
                return cls(of, fresh=True)
            wanted, handed = (_wanted(values.pop(name)) for name in ("wanted", "handed"))
            return cls(**values, wanted=wanted, handed=handed)
        except (ValueError, TypeError, LookupError, AttributeError, json.JSONDecodeError):
            return cls(of, fresh=True)

    @property
    def before(self) -> str:
        """Number of the last hand-over that has succeeded; empty where there is none."""
        return f"{self.series}:{self.covered}" if self.covered else ""

    @property
    def until(self) -> str:
        """Number of the last hand-over."""
        return f"{self.series}:{self.number}"

    def next(self, run_key: str) -> "State":
        """With the next hand-over, to a run of this key."""
        # A tick that died may have launched the first run: it has to have the same name.
        return replace(self, series=self.series or run_key[-8:], number=self.number + 1)

    def settled(self) -> "State":
        """Its run has succeeded."""
        return replace(
            self, covered=self.number, run_key="", handed=Wanted(), sought=0, failures=0, after=0.0
        )

    def back(self, *, failed: bool, now: float, pause: float, longest: float) -> "State":
        """What its run was to do is wanted again; after one that failed, not at once."""
        failures = self.failures + failed
        doubled = pause * 2 ** min(failures - 1, DOUBLINGS)
        after = now + min(doubled, longest) if failed else self.after
        return replace(
            self,
            wanted=self.handed.joined(self.wanted),
            run_key="",
            handed=Wanted(),
            sought=0,
            failures=failures,
            after=after,
        )


def _wanted(values: Mapping[str, Any]) -> Wanted:
    ids, whole = tuple(values["ids"]), values["whole"]
    for each in ids:
        decode(each)
    return Wanted(ids, whole)
