"""How long the texts of a source are, from one reading of it, and what counted them before.

Memory is bounded whatever the corpus: of its distinct texts those with the smallest hashes are
kept, a sample that does not depend on the order, and the same one wherever hashes are looked at.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from assets.work.opened import Opened
from resources.batch_store.store import BatchStore
from resources.core.chunks import excess
from resources.core.errors import BatchStoreError
from resources.core.progress import Progress, listener
from resources.core.space import EmbeddingSpace
from resources.embedders.packing import CHARACTERS_PER_TOKEN
from resources.sources.records import SourceDocument

KEPT = 20_000
"""Texts of the sample: shares are known to half a percent or better."""
COUNTED_BATCHES = 64
"""Of each space so many batches are looked at, evenly spread."""
_HASHES = 1 << 64


@dataclass
class Corpus:
    """What a source comes to, in texts.

    Attributes:
        documents: Records read that can be embedded.
        rejected: Records that cannot.
        why: The first of these cannot, with its place; empty where all can.
        chunks: Texts to store, those that are the same more than once.
        longest: Characters of the longest text.
        whole: The source was read to its end, or as far as its own settings say.
        texts: Characters by the first 64 bits of a text's hash: the sample.
    """

    documents: int = 0
    rejected: int = 0
    why: str = ""
    chunks: int = 0
    characters: int = 0
    longest: int = 0
    whole: bool = True
    texts: dict[int, int] = field(default_factory=dict)
    _largest: list[int] = field(default_factory=list)
    _kept: int = KEPT

    def add(self, text_hash: str, characters: int) -> None:
        """One chunk's text."""
        self.chunks += 1
        self.characters += characters
        self.longest = max(self.longest, characters)
        name = _name(text_hash)
        if name in self.texts:
            return
        if len(self.texts) < self._kept:
            heapq.heappush(self._largest, -name)
        elif name < -self._largest[0]:
            del self.texts[-heapq.heappushpop(self._largest, -name)]
        else:
            return
        self.texts[name] = characters

    @property
    def sampled(self) -> bool:
        """Whether there are more distinct texts than are in the sample."""
        return len(self.texts) >= self._kept

    @property
    def distinct(self) -> int:
        """Distinct texts; estimated where they were sampled, to about one percent."""
        if not self.sampled:
            return len(self.texts)
        # The k-th smallest of n uniform numbers lies at about k/n of their range.
        return min(self.chunks, round((len(self.texts) - 1) / (-self._largest[0] / _HASHES)))


@dataclass(frozen=True)
class Counted:
    """What a model's tokenizer has counted of the texts of a sample.

    Attributes:
        space: Whose batches have the counts.
        tokens: Of each text of the sample in its order; -1 where it is not known.
        per_character: Of what was counted; None where nothing was.
    """

    space: EmbeddingSpace
    tokens: np.ndarray
    per_character: float | None

    @property
    def texts(self) -> int:
        """How many of the sample were counted one by one."""
        return int((self.tokens >= 0).sum())


def read_lengths(o: Opened, sample: int | None = None, kept: int = KEPT) -> Corpus:
    """Read the source once, and keep how long its texts are.

    Args:
        o: The pipeline.
        sample: Records to read at most.
        kept: Texts of the sample at most.
    """
    source, found = o.source, Corpus(_kept=kept)
    progress = Progress(listener(), "records read")
    client = o.client if source.needs_mongodb else None
    for record in source.read(client):
        if sample is not None and progress.done == sample:
            found.whole = False
            break
        progress.advance(1)
        if not isinstance(record, SourceDocument):
            found.rejected += 1
            found.why = found.why or f"{record.where}: {record.reason}"
            continue
        found.documents += 1
        for chunk in source.chunking.chunks(record):
            if not excess(chunk):
                found.add(chunk.text_hash, len(chunk.text))
    progress.finish()
    return found


def counted(corpus: Corpus, batches: BatchStore, first: str | None = None) -> list[Counted]:
    """What is known of the sample's tokens by the batches of every space that has any of its texts.

    Args:
        corpus: What the source comes to.
        batches: Where the counts lie.
        first: Id of the space that comes first, others as their names go.
    """
    rows = {name: row for row, name in enumerate(corpus.texts)}
    characters = np.fromiter(corpus.texts.values(), np.int64, len(rows))
    spaces = sorted(batches.spaces(), key=lambda name: (name != first, name))
    return [found for space in spaces if (found := _of_space(space, batches, rows, characters))]


def _of_space(
    space_id: str, batches: BatchStore, rows: dict[int, int], characters: np.ndarray
) -> Counted | None:
    tokens, space = np.full(len(rows), -1, np.int64), None
    billed = billed_characters = 0
    for batch in _some(batches.batches(space_id)):
        try:
            found = batches.token_counts(space_id, batch)
        except BatchStoreError:  # torn, or removed since
            continue
        at = [rows.get(_name(text)) for text in found.texts]
        here = [row for row in at if row is not None]
        if not here:
            continue
        space = space or found.space
        known = found.tokens >= 0
        if known.any():
            for row, count in zip(at, found.tokens.tolist(), strict=True):
                if row is not None and count >= 0:
                    tokens[row] = count
        elif found.billed and len(here) == len(at):
            # A provider that bills a request as a whole: known of all its texts together.
            billed += found.billed
            billed_characters += int(characters[here].sum())
    if space is None:
        return None
    known = tokens >= 0
    of = int(characters[known].sum()) + billed_characters
    total = int(tokens[known].sum()) + billed
    return Counted(space, tokens, total / of if of and total else None)


def _some(names: Sequence[str]) -> Iterator[str]:
    step = max(1, -(-len(names) // COUNTED_BATCHES))
    yield from names[::step]


def estimated(
    corpus: Corpus, counts: Iterable[Counted], provider: str, family: str
) -> tuple[np.ndarray, Counted | None]:
    """Tokens of every text of the sample for a model: what was counted, else from characters.

    Args:
        corpus: What the source comes to.
        counts: What is known of its tokens; the first that knows any stands in for models that
            have none of their own.
        provider: Of the model.
        family: Of the model: what its space is called.

    Returns:
        Tokens, at least 1 each, and where the counts come from; None: from characters alone.
    """
    known = [each for each in counts if each.per_character is not None]
    own = [each for each in known if (each.space.provider, each.space.model) == (provider, family)]
    basis = next(iter([*own, *known]), None)
    characters = np.fromiter(corpus.texts.values(), np.float64, len(corpus.texts))
    if basis is None or basis.per_character is None:
        return np.maximum(1, np.rint(characters / CHARACTERS_PER_TOKEN)), None
    tokens = np.maximum(1, np.rint(characters * basis.per_character))
    return np.where(basis.tokens >= 0, np.maximum(1, basis.tokens), tokens), basis


def _name(text_hash: str) -> int:
    return int(text_hash[:16], 16)
