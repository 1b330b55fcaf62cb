"""Cut a list of texts into requests that a provider accepts."""

from collections.abc import Iterator, Sequence

CHARACTERS_PER_TOKEN = 3.0
"""On the safe side for European languages; MongoDB's own embedding service estimates so too."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text, rather too many than too few; at least one per three characters."""
    return max(1, round(len(text) / CHARACTERS_PER_TOKEN))


def pack(texts: Sequence[str], *, max_texts: int, max_tokens: int) -> Iterator[range]:
    """Consecutive ranges of positions, each within both limits; one oversized text goes alone."""
    start, tokens = 0, 0
    for position, text in enumerate(texts):
        size = estimate_tokens(text)
        if position > start and (position - start >= max_texts or tokens + size > max_tokens):
            yield range(start, position)
            start, tokens = position, 0
        tokens += size
    if start < len(texts):
        yield range(start, len(texts))
