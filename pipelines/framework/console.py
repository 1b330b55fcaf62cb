r"""What is printed in a terminal; whatever came from outside is text there, and nothing else.

A `str` is data: colours come from `styled` and `say` alone, whose first argument is written in our
own code. Control sequences, bidirectional overrides and line breaks within data are shown as Python
would write them (`\x1b`); tags, emoji codes and links are shown as they are.
"""

import re
from collections.abc import Iterable
from typing import Any, LiteralString

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

AS_WIDE_AS_IT_NEEDS = 100_000

# C0 and C1, line separators, bidirectional embeddings, overrides and isolates, invisible tags,
# halves of characters (which no terminal's encoding can write).
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_PLACE = re.compile(r"\{(\w+)(?::([^{}]*))?\}")


def plain(value: object, *, lines: bool = False) -> str:
    """A value as text that does nothing in a terminal; `lines` keeps its line breaks."""

    def written(found: re.Match[str]) -> str:
        if lines and found[0] == "\n":
            return "\n"
        return repr(found[0])[1:-1] if not found[0].isprintable() else found[0]

    return _UNSAFE.sub(written, str(value))


def styled(markup: LiteralString, /, **values: object) -> Text:
    """Rich's markup with values in it, which are text: `styled("[red]{why}[/red]", why=error)`.

    A place may have a format, `{count:,}`; a value that is a `Text` keeps its own colours.
    """
    written = Text.from_markup(markup, emoji=False)
    made, position = Text(), 0
    for place in _PLACE.finditer(written.plain):
        made.append_text(written[position : place.start()])
        styles = [span.style for span in written[place.start() : place.end()].spans]
        value = values[place[1]]
        if isinstance(value, Text):
            value = value.copy()
        else:
            value = Text(plain(format(value, place[2] or "")))
        for style in styles:
            value.stylize_before(style)
        made.append_text(value)
        position = place.end()
    return made.append_text(written[position:])


class Screen(Console):
    """A console on which a `str` is text, as wide as its lines need where it is no terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        self._width = options.get("width")  # COLUMNS is a terminal's, and `size` looks at it

    @property
    def size(self) -> ConsoleDimensions:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = super().size
        if self._width is not None or self.is_terminal:
            return found
        return ConsoleDimensions(AS_WIDE_AS_IT_NEEDS, found.height)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text, lines=True), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        # Whoever makes a Text of data without `plain` is caught here.
        for segment in super().render(renderable, options):
            if segment.control is None and _UNSAFE.search(segment.text):
                yield Segment(plain(segment.text, lines=True), segment.style)
            else:
                yield segment

    def say(self, markup: LiteralString, /, **values: object) -> None:
        """Print a line as `styled` makes it; whole, so that what stands in it can be copied."""
        self.print(styled(markup, **values), soft_wrap=True)


console = Screen()
errors = Screen(stderr=True)
say = console.say
