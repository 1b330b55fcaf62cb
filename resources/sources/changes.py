"""Which records a run compares alone: those that a change stream has told of."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator

from resources.core.config import StrictConfig
from resources.core.keys import decode, key

MAX_IDS = 2_000
MAX_BYTES = 100_000
"""Of the ids of one run, which stand in its config: of more the whole source is compared."""


class Changes(StrictConfig):
    """Records of a collection, by their ids."""

    ids: list[str] = Field(
        default=[],
        max_length=MAX_IDS,
        description="Ids of documents, each as JSON or Extended JSON; the run reads and compares "
        "these alone. None: all.",
    )
    after: str = Field(
        default="",
        description="Set by the sensor: number of the latest hand-over before whose run has "
        "succeeded. A space that was not worked on for all until then is compared whole.",
    )
    until: str = Field(
        default="", description="Set by the sensor: number of the hand-over to this run."
    )

    @field_validator("ids")
    @classmethod
    def _readable(cls, value: list[str]) -> list[str]:
        for each in value:
            try:
                decode(each)
            except Exception:  # whatever BSON and JSON say of what is neither
                raise ValueError(
                    f'ids: {each!r} is no id as JSON, such as "a text", 5 or {{"$oid": …}}'
                ) from None
        return value

    def wanted(self) -> list[Any]:
        """The ids, each once."""
        return list({key(each): each for each in map(decode, self.ids)}.values())


def covers(until: str, after: str) -> bool:
    """Whether who has worked on all hand-overs up to one has worked on those up to another.

    Both are numbers behind the name of a series: a sensor begins a new one where it knows nothing
    of what it handed over before.
    """
    series, _, number = until.rpartition(":")
    of, _, wanted = after.rpartition(":")
    return series == of and number.isdecimal() and wanted.isdecimal() and int(number) >= int(wanted)


def fits(ids: Sequence[str]) -> bool:
    """Whether so many ids, as `written` has them, are few enough for one run."""
    return len(ids) <= MAX_IDS and sum(len(each.encode()) for each in ids) <= MAX_BYTES
