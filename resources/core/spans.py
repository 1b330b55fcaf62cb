"""Where a text is cut: spans of it, at the separators of langchain-text-splitters.

The rule is that of its RecursiveCharacterTextSplitter, and so are the pieces. That class gives
pieces without their places, and a piece that repeats cannot be found again (its own
`add_start_index` takes the first that looks the same), so the rule is followed here over spans.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

Span = tuple[int, int]
Length = Callable[[str], int]

_LONE_CR = re.compile(r"\r(?!\r?\n)")


def spans(
    text: str, *, size: int, overlap: int, language: str = "", length: Length = len
) -> Iterator[Span]:
    """Spans that together hold the whole text, in order, each of them at most `size` long.

    Only a single character can be longer, where a tokenizer needs several tokens for it.

    Args:
        text: What to cut.
        size: The length of a span at most.
        overlap: How much of it the span before may hold too.
        language: Cut at this language's separators; at paragraphs, lines and words without it.
        length: How long a piece is.
    """
    # A carriage return by itself ends a line as well; one for one, so that places stay.
    lines = _LONE_CR.sub("\n", text)
    cutter = _Cutter(text, lines, size, overlap, length)
    yield from cutter.cut((0, len(text)), _separators(language))


class _Cutter:
    def __init__(self, text: str, lines: str, size: int, overlap: int, length: Length) -> None:
        self._text, self._lines = text, lines
        self._size, self._overlap = size, overlap
        self._length = length

    def cut(self, span: Span, separators: Sequence[re.Pattern[str]]) -> Iterator[Span]:
        part = self._lines[slice(*span)]
        # The first separator that occurs; where none does, it is cut into characters.
        while separators and not separators[0].search(part):
            separators = separators[1:]
        short: list[tuple[Span, int]] = []
        for piece in _at_each(separators[0], part, span) if separators else _characters(span):
            length = self._measure(piece)
            if length < self._size:
                short.append((piece, length))
                continue
            yield from self._joined(short)
            short = []
            if separators:
                yield from self.cut(piece, separators[1:])
            else:
                yield piece
        yield from self._joined(short)

    def _measure(self, span: Span) -> int:
        # Most texts are measured in characters, and need not be copied for that.
        return span[1] - span[0] if self._length is len else self._length(self._text[slice(*span)])

    def _joined(self, pieces: Sequence[tuple[Span, int]]) -> Iterator[Span]:
        """As many neighbours together as fit, and from one to the next as many again as overlap."""
        held: deque[tuple[Span, int]] = deque()
        total = 0
        for piece, length in pieces:
            if held and total + length > self._size:
                yield held[0][0][0], held[-1][0][1]
                while held and (total > self._overlap or total + length > self._size):
                    total -= held.popleft()[1]
            held.append((piece, length))
            total += length
        if held:
            yield held[0][0][0], held[-1][0][1]


def _at_each(separator: re.Pattern[str], part: str, span: Span) -> Iterator[Span]:
    """A separator begins the piece that it stands before."""
    begin = 0
    for match in separator.finditer(part):
        if match.start() > begin:
            yield span[0] + begin, span[0] + match.start()
            begin = match.start()
    if begin < len(part):
        yield span[0] + begin, span[1]


def _characters(span: Span) -> Iterator[Span]:
    return ((at, at + 1) for at in range(*span))


@lru_cache(maxsize=8)
def _separators(language: str) -> tuple[re.Pattern[str], ...]:
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    if not language:
        return tuple(map(re.compile, ("\n\n", "\n", " ")))
    found = RecursiveCharacterTextSplitter.get_separators_for_language(Language(language))
    # The last is empty: character by character, which is what comes after all of them here.
    return tuple(re.compile(separator) for separator in found if separator)
