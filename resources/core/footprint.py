"""How much memory a value takes, roughly: enough to bound what is held at once."""

from sys import getsizeof
from typing import Any


def footprint(value: Any) -> int:
    """Bytes of a BSON value in memory, what it holds included; nothing is encoded for it.

    A value that stands at two places counts twice, as it would once written and read back.
    """
    if not isinstance(value, _HOLDERS):
        return getsizeof(value)
    # The names are those of every other record.
    held = value.values() if isinstance(value, dict) else value
    return getsizeof(value) + sum(map(footprint, held))


_HOLDERS = (dict, list, tuple)
