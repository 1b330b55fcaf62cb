"""JSON values in a text of any length, one after another: the elements of an array, or objects.

JSON has no line ends within its strings. So where a value is broken, the next line that begins one
as the lines before did, no deeper and after a comma, is where reading goes on; where no line does,
the rest is left out.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# More than a MongoDB document can hold; a longer value is taken for damage.
LONGEST_VALUE = 64 * 1024**2

_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Value:
    """A value with its first and last line, or a `problem` with what was found instead of one."""

    first: int
    last: int
    text: str
    value: Any = None
    problem: str = ""


class _Broken(Exception):
    """What is at the current place is no value; nor was the one before, if it is `both`."""

    def __init__(self, reason: str, *, both: bool = False) -> None:
        super().__init__(reason)
        self.both = both


class Values:
    """Iterates over values.

    Args:
        chunks: The text, in pieces of any length.
        in_array: They are the elements of one array; otherwise objects that follow each other.
    """

    def __init__(self, chunks: Iterator[str], *, in_array: bool) -> None:
        self._chunks, self._in_array = chunks, in_array
        self._text, self._at, self._line = "", 0, 1
        self._indent: int | None = 0  # of the place, where nothing but space stands before it
        self._held: tuple[Value, int, int | None] | None = None

    def __iter__(self) -> Iterator[Value]:
        self._sign()
        if self._in_array:
            self._advance(self._at + 1)
        while True:
            try:
                found = self._next()
            except _Broken as error:
                broken = self._left_out(error)
                yield from self._release()
                yield broken
                if self._sign() == "":
                    return
                continue
            yield from self._release()
            if found is None:
                return
            self._held = found

    def _release(self) -> Iterator[Value]:
        """A value is whole only if what follows it is one, or the end."""
        if self._held:
            yield self._held[0]
        self._held = None

    def _next(self) -> tuple[Value, int, int | None] | None:
        sign = self._sign()
        if self._in_array and self._held:
            if sign not in (",", "]", ""):
                raise _Broken("no comma after a value", both=True)
            if sign == ",":
                self._advance(self._at + 1)
                sign = self._sign()
        if sign == "]" and self._in_array:
            self._advance(self._at + 1)
            if self._sign():
                raise _Broken("the array has ended before")
            return None
        if not sign:
            if self._in_array:
                raise _Broken("the array is not closed: the file may have been cut off")
            return None
        if self._held and not self._in_array and sign != "{":
            raise _Broken("no object follows", both=True)
        return self._value(sign)

    def _value(self, sign: str) -> tuple[Value, int, int | None]:
        first, indent = self._line, self._indent
        while True:
            problem, value = "", None
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                incomplete = error.msg.startswith("Unterminated string")
                if (incomplete or error.pos + 10 > len(self._text)) and self._more():
                    continue
                line = self._line + self._text.count("\n", self._at, error.pos)
                what = error.msg.removesuffix(" at").removesuffix(" starting")
                raise _Broken(f"not JSON: {what} in line {line}") from None
            except (ValueError, RecursionError) as error:
                problem = f"JSON that cannot be read: {error}"
                end = self._extent()
            if end < len(self._text) or not self._more():
                break
        text = self._text[self._at : end]
        self._advance(end)
        if sign == '"' and self._sign() == ":":
            raise _Broken("a name and a value outside of any object", both=True)
        return Value(first, self._line, text, value, problem), first, indent

    def _extent(self) -> int:
        """Where a value ends whose brackets are in order."""
        depth = 0
        for token in _TOKEN.finditer(self._text, self._at):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
            if depth == 0:
                return token.end()
        if self._more():
            return self._extent()
        raise _Broken("JSON that cannot be read: its brackets are not in order")

    def _left_out(self, error: _Broken) -> Value:
        """What is broken, up to where a value is certain to start, or to the end."""
        first, indent, before = self._line, self._indent, ""
        if error.both and self._held:
            # Its text is at hand no more, but how it began is.
            held, first, indent = self._held
            self._held, before = None, held.text
        text = before + self._text[self._at : self._at + 500]
        certain = self._resume(indent)
        last = max(first, self._line - (1 if certain else 0))
        reason = f"{error}; lines {first} to {last} are left out" if last > first else str(error)
        if not certain:
            reason = f"{error}; the rest of the file, from line {first} on, is left out"
        return Value(first, last, text, None, reason)

    def _resume(self, indent: int | None) -> bool:
        """Goes to the next line that begins a value as the broken one began; False without one."""
        ended = ""
        while True:
            line = self._take_line()
            ended = line.rstrip()[-1:] or ended
            following = self._peek_line()
            begin = following.lstrip(" \t")
            if not following or not line.endswith("\n"):
                self._skip()
                return False
            if not begin.strip():
                continue
            depth = len(following) - len(begin)
            if begin[0] == "{" and (indent is None or depth == indent):
                return ended == "," or not self._in_array
            if begin.strip() == "]" and self._in_array and depth < (indent or 1):
                return True
            if indent is None or depth < indent or (depth == indent and begin[0] != "}"):
                self._skip()
                return False

    def _skip(self) -> None:
        while self._take_line():
            pass

    def _take_line(self) -> str:
        line = self._peek_line()
        self._advance(self._at + len(line))
        return line

    def _peek_line(self) -> str:
        while (end := self._text.find("\n", self._at)) < 0:
            if len(self._text) - self._at > LONGEST_VALUE or not self._more():
                break
        return self._text[self._at : end + 1] if end >= 0 else self._text[self._at :]

    def _sign(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            end = match.end() if match else self._at
            space = self._text[self._at : end]
            if "\n" in space:
                self._indent = len(space) - space.rindex("\n") - 1
            elif space and self._indent is not None:
                self._indent += len(space)
            self._advance(end, keep_indent=True)
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def _advance(self, to: int, *, keep_indent: bool = False) -> None:
        if to > self._at and not keep_indent:
            self._indent = 0 if self._text[to - 1] == "\n" else None
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Reads on, each time as much again as is at hand, so that a long value is not slow."""
        kept = self._text[self._at :]
        if len(kept) > LONGEST_VALUE:
            raise _Broken(f"longer than {LONGEST_VALUE >> 20} MiB")
        parts, size = [kept], 0
        while size <= len(kept) and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            size += len(chunk)
        if size:
            self._text, self._at = "".join(parts), 0
        return size > 0
