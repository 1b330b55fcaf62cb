"""What every embedding provider offers to the pipeline, and how its replies are checked."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

import numpy as np

from resources.embedders.space import EmbeddingSpace
from resources.errors import ProviderError
from resources.vector_store.formats import NUMPY_TYPES

InputType = Literal["document", "query"]
K = TypeVar("K")


@dataclass(frozen=True)
class Usage:
    """What a reply cost.

    Attributes:
        requests: Calls made (one per `encode` for a local model).
        tokens: Tokens as the provider counts (and bills) them, None where it does not say.
        truncated: Texts of which the model saw only the beginning.
        retries: Requests sent again.
        throttled_seconds: Time that requests waited for the provider's limits.
        request_ids: Under which the requests stand in the journal.
    """

    requests: int = 0
    tokens: int | None = None
    truncated: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    request_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Embeddings:
    """The reply to one list of texts.

    Attributes:
        vectors: Of the space's element type, shape (texts, columns), see
            `resources.vector_store.formats`; row i belongs to text i.
        tokens: Per text, int32 of shape (texts,), or None where they are not known.
        usage: Totals of the whole reply.
        refused: Position -> reason, for texts the provider refuses one by one.
        unfinished: Positions that an error kept from being embedded; it is raised afterwards.

    Rows of `vectors` at refused and unfinished positions mean nothing and are never stored.
    """

    vectors: np.ndarray
    tokens: np.ndarray | None = None
    usage: Usage = Usage()
    refused: Mapping[int, str] = field(default_factory=dict)
    unfinished: frozenset[int] = frozenset()


class Embedder(ABC):
    """A provider with its connection or its loaded model; opened and closed by its resource."""

    space: EmbeddingSpace
    model: str
    """The model that embeds documents; one member of the space's family."""

    price_factor: float = 1.0
    """Share of the list price that this way of asking costs."""

    @abstractmethod
    def embed(self, texts: Sequence[str], *, input_type: InputType) -> Embeddings:
        """Embed the texts, in their order.

        Raises:
            ProviderError: The provider is out of reach or refuses the request as a whole.
        """

    def embed_batches(
        self, batches: Iterable[tuple[K, Sequence[str]]]
    ) -> Iterator[tuple[K, Embeddings]]:
        """Embed batches of documents, each with a key by which its reply is known.

        Replies come as they are finished, not always in order; batches are taken from the
        iterable as they are needed. An error is raised after what was finished before it.

        Raises:
            ProviderError: As `embed`.
        """
        for key, texts in batches:
            try:
                reply = self.embed(texts, input_type="document")
            except ProviderError as error:
                raise of_batch(error, key) from error
            yield key, reply

    def written(self, key: Any) -> None:  # noqa: B027  (most keep nothing until then)
        """A reply of `embed_batches` is stored for good; called from any thread."""

    def close(self) -> None:  # noqa: B027  (most providers hold nothing)
        """Let go of connections and memory."""

    def versions(self) -> dict[str, str]:
        """Versions of what computed the vectors, written down with every batch."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Choices that are not part of the space, written down with every batch."""
        return {}

    @property
    def refusal_scope(self) -> str:
        """What a refusal of a text holds for: other settings may accept it."""
        return f"{self.space.id} {json.dumps(self.settings(), sort_keys=True)}"


NO_DIRECTION = "the model made a vector of nothing but zeros of it, which no search can find"


def without_zeros(reply: Embeddings) -> Embeddings:
    """The reply with its all-zero vectors among the refused.

    Static models make them of texts in which they know no token; a server leaves them out of an
    index by cosine without a word, and compares them with nothing meaningful otherwise.
    """
    if reply.vectors.dtype != np.float32:
        return reply  # zeros of integers and bits are values like others
    left_out = reply.unfinished.union(reply.refused)
    zeros = (int(row) for row in np.flatnonzero(~reply.vectors.any(axis=1)))
    refused = {row: NO_DIRECTION for row in zeros if row not in left_out}
    return replace(reply, refused={**reply.refused, **refused}) if refused else reply


def of_batch(error: ProviderError, key: object) -> ProviderError:
    """The error with the name of the batch it kept from being embedded."""
    return ProviderError(f"{error} (embedding batch {key})")


def _integers(vectors: np.ndarray, name: str, space: EmbeddingSpace) -> np.ndarray:
    kind = NUMPY_TYPES[space.element]
    limits = np.iinfo(cast(Any, kind))
    # NaN fails the comparison as well.
    fit = (vectors >= limits.min) & (vectors <= limits.max) & (vectors == np.rint(vectors))
    if not fit.all():
        raise ProviderError(
            f"{name} returned values that are no {space.element} for text "
            f"{int(np.argmin(fit.all(axis=1)))} of {len(vectors)}; nothing is stored"
        )
    return np.ascontiguousarray(vectors, dtype=kind)


UNIT_LENGTH_TOLERANCE = 1e-2
"""float16 and remote services round; a vector further from length 1 was not normalised at all."""


def check_reply(vectors: np.ndarray, texts: int, space: EmbeddingSpace) -> np.ndarray:
    """Refuse a reply that is not what was asked for, before any of it is stored.

    Returns:
        The vectors in the space's element type, shape (texts, space.width).

    Raises:
        ProviderError: Wrong count, wrong width, NaN or infinite values, values that the element
            type cannot hold, or floats not of unit length in a normalised space. A vector of zeros
            passes: it is the fault of its text alone, see `without_zeros`.
    """
    name = f"{space.provider} model {space.model}"
    if vectors.ndim != 2 or len(vectors) != texts:
        got = len(vectors) if vectors.ndim else 0
        raise ProviderError(f"{name} returned {got} vectors for {texts} texts; nothing is stored")
    if vectors.shape[1] != space.width:
        got = vectors.shape[1] * space.dimensions // space.width
        raise ProviderError(
            f"{name} returned vectors of {got} dimensions, the space {space.id} has "
            f"{space.dimensions}; nothing is stored"
        )
    if space.element != "float32":
        return _integers(vectors, name, space)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ProviderError(
            f"{name} returned NaN or infinite values for text {int(np.argmin(finite))} of "
            f"{texts}; nothing is stored"
        )
    if space.normalized and texts:
        lengths = np.linalg.norm(vectors, axis=1)
        worst = int(np.argmax(np.where(lengths > 0, np.abs(lengths - 1), 0)))
        if lengths[worst] > 0 and abs(lengths[worst] - 1) > UNIT_LENGTH_TOLERANCE:
            raise ProviderError(
                f"{name} returned a vector of length {lengths[worst]:.4f} for text {worst} of "
                f"{texts}, but its space promises unit length; nothing is stored"
            )
    return vectors
