"""Bytes that are no text in the encoding of their file: they cost their record only."""

import codecs
import re

KEEP = "embeddings.keep"
"""An error handler as surrogateescape, but also for encodings of which any byte can be wrong."""

# No text holds them: what they stand for was a wrong byte.
_SURROGATE = re.compile("[\ud800-\udfff]")


def _keep(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in wrong), error.end


codecs.register_error(KEEP, _keep)


def wrong_byte(text: str) -> int | None:
    """The first byte that was no text."""
    found = _SURROGATE.search(text)
    return ord(found.group()) & 0xFF if found else None
