"""Vectors of queries, each embedded once."""

from collections.abc import Callable, Sequence

import numpy as np

from resources.batch_store.evaluations import WINDOW, QueryVectors, QueryWindow
from resources.core.space import EmbeddingSpace
from resources.core.windows import windows


def query_vectors(
    texts: Sequence[str],
    *,
    kept: QueryVectors,
    space: EmbeddingSpace,
    settings: str,
    embed: Callable[[Sequence[str]], QueryWindow],
) -> dict[str, np.ndarray | str]:
    """The vector of each text as a query, or why it has none.

    What is embedded now is written down before anything else is: killed here, nothing is paid for
    twice.

    Args:
        texts: In an order that is always the same, so that the same are embedded together.
        kept: Where they are kept.
        space: That they are embedded in.
        settings: See `EmbedderResource.query_settings`.
        embed: Embeds at most `WINDOW` texts.

    Raises:
        ProviderError: The provider is out of reach.
    """
    distinct = list(dict.fromkeys(texts))
    found = kept.read(space, settings, distinct)
    for window in windows((text for text in distinct if text not in found), WINDOW):
        made = embed(window)
        kept.write(space, settings, window, made)
        for row, text in enumerate(window):
            found[text] = made.refused.get(row, made.vectors[row])
    return found
