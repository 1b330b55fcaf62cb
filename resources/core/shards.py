"""Which shard of a pipeline a source document belongs to, and what its shards are called.

By a hash of the document's id alone: every chunk of a document is in one shard, whatever its text
becomes, and whichever process, machine or version of Python asks.
"""

import hashlib
from typing import Any

from resources.core.errors import ConfigurationError
from resources.core.keys import key

SHARED = -1
"""The number of what more than one shard needs: it is done once for all of them."""


def slot_of(document_id: Any) -> int:
    """A number of 63 bits that a document keeps, however many shards there are."""
    whole = key(document_id).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(whole).digest()[:8], "big") >> 1


def shard_of(document_id: Any, shards: int) -> int:
    """The shard of a source document: from 0 to `shards` - 1."""
    return slot_of(document_id) % shards if shards > 1 else 0


def shard_names(shards: int) -> list[str]:
    """Names of all shards, in an order that is theirs as text too.

    How many there are is a part of the name, so that a run of what was a shard before there were
    more of them is not taken for one of a shard that there is now.
    """
    return [shard_name(shard, shards) for shard in range(shards)]


def shard_name(shard: int, shards: int) -> str:
    return f"{shard:0{len(str(shards - 1))}d}-of-{shards}"


def shard_number(name: str, shards: int) -> int:
    """The number of a shard by its name.

    Raises:
        ConfigurationError: There is no such shard.
    """
    names = shard_names(shards)
    if name not in names:
        raise ConfigurationError(
            f"there is no shard {name!r}: they are called {names[0]} to {names[-1]}"
        )
    return names.index(name)
