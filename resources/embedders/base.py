"""What every embedding provider offers to the pipeline, and how its replies are checked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np

from resources.core.errors import ConfigurationError, ProviderError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import NUMPY_TYPES
from resources.embedders.facts import Facts
from resources.embedders.quota import SharedQuota

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
class Refusal:
    """Why a text has no vector.

    Attributes:
        reason: In the words of who refused it.
        lasting: It stays so until the text or the settings change; else later runs ask again.
    """

    reason: str
    lasting: bool = True


@dataclass(frozen=True)
class Embeddings:
    """The reply to one list of texts.

    Attributes:
        vectors: Of the space's element type, shape (texts, columns), see
            `resources.core.vectors`; row i belongs to text i.
        tokens: Per text, int32 of shape (texts,), or None where they are not known.
        usage: Totals of the whole reply.
        refused: Position -> why, for texts that cannot be embedded while others can.
        unfinished: Positions that an error kept from being embedded; it is raised afterwards.
        cut: Positions of texts of which the model saw only the beginning, or may have.

    Rows of `vectors` at refused and unfinished positions mean nothing and are never stored.
    """

    vectors: np.ndarray
    tokens: np.ndarray | None = None
    usage: Usage = Usage()
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    unfinished: frozenset[int] = frozenset()
    cut: frozenset[int] = frozenset()


class RefusedQuery(ProviderError):
    """Some of several queries have no vector.

    Attributes:
        reply: What came of all of them; `refused` says why.
    """

    def __init__(self, sentence: str, reply: Embeddings) -> None:
        super().__init__(sentence)
        self.reply = reply


class Embedder(ABC):
    """A provider with its connection or its loaded model; opened and closed by its resource.

    Args:
        space: That documents are embedded in.
        facts: As its provider gives them.
    """

    concurrent: ClassVar[bool] = False
    """Whether any number of threads may call `embed` at once."""

    def __init__(self, space: EmbeddingSpace, facts: Facts) -> None:
        self.space, self.facts = space, facts
        self.progressed: Callable[[int], None] = lambda texts: None
        """Told of texts of `embed_batches` as they are finished, by any thread."""

    def prepare(self) -> None:  # noqa: B027  (most have nothing to prepare)
        """What takes its time before the first text can be embedded, such as to load a model.

        Raises:
            EmbeddingsError: No text could be embedded.
        """

    def share(self, quota: SharedQuota, most_tokens: int | None) -> None:
        """Keep a quota together with other processes; before anything is embedded.

        Args:
            quota: Asked before every request.
            most_tokens: That one request may hold.

        Raises:
            ConfigurationError: This provider keeps none.
        """
        raise ConfigurationError(
            f"`embedder: quota` is set, and the provider {self.space.provider} does not ask before "
            "it sends a request: remove the quota, or choose a provider that does (voyage, openai)"
        )

    @property
    def model(self) -> str:
        """That embeds documents; one member of the space's family."""
        return self.facts.model

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

    def salvage(self) -> Iterator[tuple[Any, Embeddings]]:
        """What is finished of batches that `embed_batches` did not come to hand out.

        For a run that breaks off: called after the iterator of `embed_batches` was closed or
        raised, before `close`. The batch that was handed out last comes again unless it was
        reported as `written`. What has no answer after a few seconds is `unfinished`. The embedder
        embeds nothing more after this.
        """
        return iter(())

    def written(self, key: Any) -> None:  # noqa: B027  (most keep nothing until then)
        """A reply of `embed_batches` is stored for good; called from any thread."""

    def close(self) -> None:  # noqa: B027  (most providers hold nothing)
        """Let go of connections and memory."""

    def versions(self) -> dict[str, str]:
        """Versions of what computed the vectors, written down with every batch."""
        return {}


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
    refused = {row: Refusal(NO_DIRECTION) for row in zeros if row not in left_out}
    return replace(reply, refused={**reply.refused, **refused}) if refused else reply


def of_batch(error: ProviderError, key: object) -> ProviderError:
    """The error with the name of the batch it kept from being embedded."""
    return ProviderError(f"{error} (embedding batch {key})", passing=error.passing)


UNIT_LENGTH_TOLERANCE = 1e-2
"""float16 and remote services round; a vector further from length 1 was not normalised at all."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one vector of a reply: `it returned {what}{why}`.

    Attributes:
        settings: The kind that a wrong setting gives to every vector.
    """

    what: str
    why: str = ""
    settings: bool = False

    def __str__(self) -> str:
        return f"it returned {self.what}{self.why}"


def faults(vectors: np.ndarray, space: EmbeddingSpace) -> dict[int, Fault]:
    """Rows, of the space's width, that cannot be stored. A row of zeros can: `without_zeros`."""
    if space.element != "float32":
        limits = np.iinfo(cast(Any, NUMPY_TYPES[space.element]))
        # NaN fails the comparison as well.
        fit = (vectors >= limits.min) & (vectors <= limits.max) & (vectors == np.rint(vectors))
        wrong = Fault(f"values that are no {space.element}", settings=True)
        return {int(row): wrong for row in np.flatnonzero(~fit.all(axis=1))}
    finite = np.isfinite(vectors).all(axis=1)
    found = {int(row): Fault("NaN or infinite values") for row in np.flatnonzero(~finite)}
    if space.normalized and len(vectors):
        lengths = np.linalg.norm(np.where(finite.reshape(-1, 1), vectors, 0), axis=1)
        off = (lengths > 0) & (np.abs(lengths - 1) > UNIT_LENGTH_TOLERANCE)
        for row in np.flatnonzero(off):
            found[int(row)] = Fault(
                f"a vector of length {lengths[row]:.4f}",
                ", but its space promises unit length",
                settings=True,
            )
    return found


def converted(vectors: np.ndarray, space: EmbeddingSpace) -> np.ndarray:
    """In the space's element type; overflow to infinity is seen by `faults` afterwards."""
    kind = NUMPY_TYPES[space.element] if space.element == "float32" else vectors.dtype
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(vectors, dtype=kind)


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
        raise ProviderError(
            f"{name} returned vectors of {dimensions(vectors.shape[1], space)} dimensions, the "
            f"space {space.id} has {space.dimensions}; nothing is stored"
        )
    vectors = converted(vectors, space)
    wrong = faults(vectors, space)
    if wrong:
        row, fault = min(wrong.items())
        raise ProviderError(
            f"{name} returned {fault.what} for text {row} of {texts}{fault.why}; nothing is stored"
        )
    return np.ascontiguousarray(vectors, dtype=NUMPY_TYPES[space.element])


def dimensions(columns: int, space: EmbeddingSpace) -> int:
    """Of a row with so many columns: packed bits have eight in each."""
    return columns * space.dimensions // space.width
