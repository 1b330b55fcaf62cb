"""Text of documents where it is only looked at: one line, without what cannot be shown."""

import re

# Controls, what turns the direction of text around, halves of surrogate pairs, invisible tags.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f]"
)


def line(value: object, width: int | None = None) -> str:
    """A value as one line of visible characters.

    Args:
        value: Anything; its text is taken.
        width: At most so many characters, the last an ellipsis where there were more.
    """
    text = str(value)
    if width is not None:
        text = text[: 4 * width + 100]  # a document may be long
    text = _UNSHOWN.sub("\ufffd", " ".join(text.split()))
    return text if width is None or len(text) <= width else text[: width - 1].rstrip() + "…"
