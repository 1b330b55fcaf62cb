"""Lengths of time as people write them: `6h`, `90m`, `1d12h`."""

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTH = re.compile(r"(?:\d+[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)


def length(text: str) -> timedelta:
    """What is written there, longer than nothing.

    Raises:
        ValueError: It is no length of time; the message says what is.
    """
    parts = _PART.findall(text) if _LENGTH.fullmatch(text.strip()) else []
    try:
        found = sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in parts), timedelta())
    except OverflowError:
        found = timedelta()
    if not found:
        raise ValueError(f"{text!r} is no length of time such as 26h, 90m, 7d or 1d12h")
    return found
