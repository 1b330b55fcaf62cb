"""Ids in files of TREC's, whose columns are separated by white space: one word for each id.

A bare word is what a person would write: text as it is, an integer's digits, an ObjectId's 24
hexadecimal digits. A text that a bare word would not give back is quoted as in JSON (`"5"` is the
text), and every other id is BSON in base64 (`b:…`).
"""

import base64
import json
import re
from typing import Any

import bson
from bson.code import Code
from bson.objectid import ObjectId

from resources.core.keys import WRITTEN, decode, key

_INTEGER = re.compile(r"-?[1-9]\d{0,18}|0", re.ASCII)
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_BEYOND = 1 << 63
"""Of MongoDB's integers."""
_MARKS = _QUOTED, _BSON = ('"', "b:")
"""Begin what is no bare word."""


def token(value: Any, *, bare_is_text: bool = False) -> str:
    """An id as one word without white space, from which `untoken` makes an id of the same `key`.

    Args:
        value: Any id of MongoDB's.
        bare_is_text: Every bare word stands for text, `5` too, as in files of BEIR's.
    """
    if isinstance(value, str) and not isinstance(value, Code):
        if _is_bare(value, bare_is_text):
            return value
        # As ASCII, JSON leaves no white space but spaces as it is.
        return json.dumps(value).replace(" ", "\\u0020")
    bare = _of_bare(key(value)[1:])
    if not bare_is_text and type(bare) is not str and key(bare) == key(value):
        return str(bare)  # of 5.0 it is 5
    return _BSON + base64.b64encode(bson.encode({"": value}, codec_options=WRITTEN)).decode()


def untoken(word: str, *, bare_is_text: bool = False) -> Any:
    """The id that a word stands for; what looks like ours and is not is text as it stands."""
    try:
        if word.startswith(_BSON):
            return decode(word)
        if word.startswith(_QUOTED) and type(text := json.loads(word)) is str:
            return text
    except Exception:  # whatever JSON, base64 and BSON raise for what is none of theirs
        return word
    return word if bare_is_text else _of_bare(word)


def _of_bare(word: str) -> Any:
    if _INTEGER.fullmatch(word) and -_BEYOND <= int(word) < _BEYOND:
        return int(word)
    return ObjectId(word) if _OBJECT_ID.fullmatch(word) else word


def _is_bare(text: str, bare_is_text: bool) -> bool:
    """Whether the text itself is a word that gives it back."""
    if not text.isprintable() or " " in text or not text or text.startswith(_MARKS):
        return False
    return bare_is_text or type(_of_bare(text)) is str
