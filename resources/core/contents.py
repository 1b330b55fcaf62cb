"""A digest of what a stream held, whatever its order."""

import hashlib

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)


class Contents:
    """Two streams of the same things, each as often, have the same digest."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, *parts: str) -> None:
        """One thing, named by its parts."""
        # Of each its length too, or ("ab", "c") would be ("a", "bc").
        whole = "".join([f"{len(part)}:{part}" for part in parts])
        made = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=_BYTES)
        self._sum = (self._sum + int.from_bytes(made.digest(), "big")) % _MODULUS

    def join(self, other: "Contents") -> None:
        """All that another stream held as well."""
        self._sum = (self._sum + int(other.digest(), 16)) % _MODULUS

    def digest(self) -> str:
        return f"{self._sum:0{2 * _BYTES}x}"
