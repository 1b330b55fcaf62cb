"""Text of documents in pictures: what it says, in signs that there is a font for, and no formula.

Matplotlib reads `$…$` as a formula, leaves out what begins with `_` and warns of signs that no font
has: every text goes through here.
"""

import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any

from resources.core.visible import line

MISSING = "\u25a1"
"""Stands for a sign that no font here has: a small box."""

_OWN = "DejaVu Sans"  # comes with matplotlib: the same everywhere
_OTHERS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
    "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAexGothic",
    "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic",
    "Droid Sans Fallback", "Malgun Gothic", "Arial Unicode MS", "Noto Sans", "Noto Sans Devanagari",
    "Noto Sans Thai", "Nirmala UI", "Segoe UI Symbol", "Noto Sans Symbols2",
)  # fmt: skip
"""Of other scripts, where they are installed."""


def written(text: object, width: int) -> str:
    """A text as a picture can show it, cut to so many characters."""
    # What joins or varies its neighbours is for fonts that know how; alone it is a box.
    kept = "".join(each for each in line(text, 4 * width) if not _joins(each))
    return line("".join(each if _has(each) else MISSING for each in kept), width)


def props(**more: Any) -> dict[str, Any]:
    """Keywords of every text that is drawn."""
    return {"parse_math": False, "usetex": False, "fontfamily": list(_families()), **more}


def _joins(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def _has(character: str) -> bool:
    return any(ord(character) in signs for signs in _families().values())


@cache
def _families() -> Mapping[str, frozenset[int]]:
    """The fonts that are used, in this order, with the signs that each has."""
    from matplotlib import font_manager

    installed = {each.name: each.fname for each in font_manager.fontManager.ttflist}
    found = {}
    for name in (_OWN, *_OTHERS):
        if name in installed:
            path = font_manager.findfont(name)
            found[name] = frozenset(font_manager.get_font(path).get_charmap())
    return found
