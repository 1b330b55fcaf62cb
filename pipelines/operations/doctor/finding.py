"""What the doctor found."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from resources.core.errors import EmbeddingsError

T = TypeVar("T")

# What is wrong: what to do; the colon within `in_place: true` divides nothing.
_SENTENCE = re.compile(r"((?:`[^`]*`|[^`])+?): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        topic: What was looked at.
        state: `problem` keeps the pipeline from running, `wanted` until it is set; `note` does not.
        text: What was found.
        fix: What to do about it.
    """

    topic: str
    state: Literal["ok", "note", "wanted", "problem"]
    text: str
    fix: str = ""


def explained(topic: str, at: T, look: Callable[[T], Finding]) -> Finding:
    """What a look comes to, or the error that it ends in."""
    try:
        return look(at)
    except EmbeddingsError as error:
        return problem(topic, error)


def problem(topic: str, error: EmbeddingsError) -> Finding:
    found = _SENTENCE.fullmatch(str(error))
    text, fix = found.groups() if found else (str(error), "")
    return Finding(topic, "problem", text, fix)
