"""How fast a local model embeds on this machine: tried, for an estimate."""

import time
from itertools import cycle, islice

from resources.core.errors import ConfigurationError
from resources.embedders.installed import providers
from resources.models.catalogue import ModelEntry

TEXTS = 128
# One token each in the vocabulary of any model of English.
_WORDS = ("the", "of", "and", "to", "in", "is", "for", "that", "on", "with", "as", "by", "at")


def texts_per_second(entry: ModelEntry, tokens: float) -> float:
    """Texts of so many tokens that the model embeds in a second here, after a warm-up.

    Raises:
        ConfigurationError: It is not local.
        EmbeddingsError: It cannot be loaded.
    """
    if not entry.local:
        raise ConfigurationError(
            f"{entry.model} runs at its provider: its speed is its quota, leave out --measure"
        )
    length = max(1, round(tokens) - 8)  # room for the model's own marks
    texts = [" ".join([*islice(cycle(_WORDS), n, n + length)]) for n in range(TEXTS)]
    kind = providers()[entry.provider]
    embedder = kind.model_validate({"kind": entry.provider, "model": entry.model}).open()
    try:
        embedder.prepare()
        embedder.embed(texts[:8], input_type="document")
        start = time.perf_counter()
        embedder.embed(texts, input_type="document")
        return TEXTS / (time.perf_counter() - start)
    finally:
        embedder.close()
