"""Text as Markdown that says just this text: Dagster renders every description as Markdown.

It reads CommonMark with GitHub's extensions, and looks for addresses when all else is read: no
escape keeps it from linking one, only code is left as it is.
"""

import re

_ADDRESS = re.compile(r"//|www\.|@", re.IGNORECASE)
_MARK = re.compile(
    r"""
    [\\`*\[\]<>~|$]
    | (?<![^\W_])_ | _(?![^\W_])  # but not between letters, as in a name
    | &(?=\#?\w+;)
    | \A[-+=:\#]                  # what would make a line a heading, a list, a rule
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"\A(\d{1,9})([.)])(?=\s|\Z)")
# Controls, what turns the direction of text around, and halves of surrogate pairs.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WRITTEN = re.compile(r"\\([!-/:-@\[-`{-~])|(?<!`)(`+)(?!`)( ?)(.+?)\3(?<!`)\2(?!`)")


def literal(text: str) -> str:
    """A line of Markdown that shows a text as it is, whatever stands in it, and links nothing."""
    shown: list[str] = []
    plain: list[str] = []
    for word in _UNSHOWN.sub("\ufffd", " ".join(text.split())).split(" "):
        if not _ADDRESS.search(word):
            plain.append(word)
            continue
        shown += [_escaped(" ".join(plain))] if plain else []
        shown.append(_code(word))
        plain = []
    shown += [_escaped(" ".join(plain))] if plain else []
    return " ".join(shown)


def unescaped(markdown: str) -> str:
    """What `literal` was given, for readers of plain text."""
    return _WRITTEN.sub(lambda found: found[1] or found[4], markdown)


def _escaped(text: str) -> str:
    return _NUMBER.sub(r"\1\\\2", _MARK.sub(r"\\\g<0>", text))


def _code(word: str) -> str:
    # Between fences longer than any in it, and apart from them where it begins or ends with one.
    fence = "`" * (1 + max(map(len, re.findall("`+", word)), default=0))
    space = " " if "`" in (word[0], word[-1]) else ""
    return f"{fence}{space}{word}{space}{fence}"
