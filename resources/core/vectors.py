"""How a vector is kept: element types in memory, dtypes in BSON, what may be searched how.

In memory vectors are rows of a NumPy array whose type is their element: `float32` of shape
(n, dimensions), `int8` of the same shape, or `packed_bit`, uint8 of shape (n, dimensions / 8) with
the first dimension in the highest bit, as BSON and `numpy.packbits` have it.
"""

import struct
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import bson
import numpy as np
from bson.binary import VECTOR_SUBTYPE, Binary, BinaryVectorDtype

from resources.core.errors import ConfigurationError

Element = Literal["float32", "int8", "packed_bit"]
Dtype = Literal["float32", "int8", "packed_bit", "array"]
Similarity = Literal["cosine", "dotProduct", "euclidean"]
Quantization = Literal["none", "scalar", "binary"]
Layout = Literal["plain", "langchain", "llamaindex"]
"""Of a document beside its vector: ours, or as a framework's own reader wants it."""

MAX_DIMENSIONS = 8192
"""Of a `$vectorSearch` index (MongoDB's index reference)."""

NUMPY_TYPES: dict[str, type[np.float32 | np.int8 | np.uint8]] = {
    "float32": np.float32,
    "int8": np.int8,
    "packed_bit": np.uint8,
}
_BSON = {
    "float32": BinaryVectorDtype.FLOAT32,
    "int8": BinaryVectorDtype.INT8,
    "packed_bit": BinaryVectorDtype.PACKED_BIT,
}
_ELEMENTS: dict[BinaryVectorDtype, Element] = {
    BinaryVectorDtype.FLOAT32: "float32",
    BinaryVectorDtype.INT8: "int8",
    BinaryVectorDtype.PACKED_BIT: "packed_bit",
}
INT8_MAX = 127
"""The largest value used: with -128 the range would not be symmetric."""


def element_of(dtype: Dtype) -> Element:
    """What the values of a stored field are compared as; an array's doubles become float32."""
    return "float32" if dtype == "array" else dtype


def width(element: Element, dimensions: int) -> int:
    """Columns of an array of such vectors."""
    return dimensions // 8 if element == "packed_bit" else dimensions


def as_floats(vectors: np.ndarray, element: Element) -> np.ndarray:
    """Their values as float32, in as many columns as there are dimensions; bits as -1 and 1."""
    if element == "packed_bit":
        return np.unpackbits(vectors, axis=-1).astype(np.float32) * 2 - 1
    return vectors.astype(np.float32)


def convert(
    vectors: np.ndarray, element: Element, to: Element, *, scale: float | None = None
) -> tuple[np.ndarray, int]:
    """Vectors in a coarser element type.

    Args:
        vectors: Shape (n, columns), or one vector.
        element: What they are.
        to: What they become.
        scale: float32 becomes int8 by this factor, one for the whole space: the server takes plain
            dot products of the integers, which a factor per dimension would bend.

    Returns:
        The vectors, and how many of their values were out of range and clipped.
    """
    if element == to:
        return vectors, 0
    if to == "packed_bit" and element != "packed_bit":
        # As MongoDB's own binary quantizer has it: zero gives no bit.
        return np.packbits(vectors > 0, axis=-1), 0
    if to != "int8" or element != "float32" or scale is None:
        raise ValueError(f"{element} vectors cannot become {to} (scale {scale})")
    scaled = np.rint(vectors.astype(np.float32) * np.float32(scale))
    clipped = int(np.count_nonzero(np.abs(scaled) > INT8_MAX))
    return np.clip(scaled, -INT8_MAX, INT8_MAX).astype(np.int8), clipped


def int8_scale(vectors: np.ndarray) -> float:
    """The factor that brings float32 vectors to int8, from a sample of them.

    The largest value of the sample becomes 127: what lies beyond it elsewhere is clipped.
    """
    largest = float(np.abs(vectors).max(initial=0.0))
    return INT8_MAX / largest if largest > 0 else 1.0


def to_bson(vector: np.ndarray, dtype: Dtype) -> Binary | list[float]:
    """One vector of the dtype's element, as it is stored.

    Source: BSON binary subtype 9 (bson-binary-vector specification).
    """
    if dtype == "array":
        return vector.astype(np.float64).tolist()
    if dtype == "packed_bit":
        # Of a NumPy array PyMongo 4.20 takes no byte above 127.
        return Binary.from_vector(vector.tolist(), BinaryVectorDtype.PACKED_BIT)
    return Binary.from_vector(vector.astype(NUMPY_TYPES[dtype], copy=False), _BSON[dtype])


def bson_header(element: Element) -> bytes:
    """The first two bytes of a BSON vector without padding: the type of its values, and 0."""
    return _BSON[element].value + b"\x00"


def from_bson(value: Any) -> np.ndarray:
    """float32, int8 or packed bits, by what is stored.

    Raises:
        ValueError: It is no vector.
    """
    if isinstance(value, Binary):
        try:
            found = value.as_vector(return_numpy=True)
        except struct.error as error:  # shorter than a vector's header
            raise ValueError(f"it is a damaged vector: {error}") from error
        return np.asarray(found.data, NUMPY_TYPES[_ELEMENTS[found.dtype]])
    if isinstance(value, list):
        return np.asarray(value, np.float32)
    raise ValueError(f"a value of type {type(value).__name__} is no vector")


def dtype_of(value: Any) -> Dtype | None:
    """The dtype of a stored value; None where it is no vector."""
    if isinstance(value, Binary) and value.subtype == VECTOR_SUBTYPE:
        try:
            return _ELEMENTS[value.as_vector().dtype]
        except (ValueError, struct.error):  # damaged
            return None
    return "array" if isinstance(value, list) else None


_RESCORED, _LAID_OUT = ", rescored by ", ", laid out for "


@dataclass(frozen=True, slots=True)
class VectorFormat:
    """How vectors of one space are stored.

    Attributes:
        element: What the provider returns.
        dtype: Of the indexed field.
        rescore: Of the second, finer field that is not indexed, if there is one.
        scale: Brings float32 to int8, one factor for the whole space; None until it is fixed.
        layout: Of the document around it.
    """

    element: Element
    dtype: Dtype
    rescore: Literal["int8", "float32"] | None = None
    scale: float | None = None
    layout: Layout = "plain"

    def __str__(self) -> str:
        return self.values if self.layout == "plain" else f"{self.values}{_LAID_OUT}{self.layout}"

    @property
    def values(self) -> str:
        """The name as far as it is about vectors."""
        return f"{self.dtype}{_RESCORED}{self.rescore}" if self.rescore else self.dtype

    @classmethod
    def parse(cls, element: Element, name: str) -> "VectorFormat":
        """The format that has this name; without the scale, which reading does not need."""
        values, _, layout = name.partition(_LAID_OUT)
        dtype, _, rescore = values.partition(_RESCORED)
        kept, laid_out = cast(Any, rescore or None), cast(Layout, layout or "plain")
        return cls(element, cast(Dtype, dtype), kept, layout=laid_out)

    def alike(self) -> list["VectorFormat"]:
        """The formats that keep the same values: doubles of an array are float32 all the same."""
        exact: tuple[Dtype, ...] = ("float32", "array")
        dtypes = exact if self.rescore is None and self.dtype in exact else (self.dtype,)
        return [
            replace(self, dtype=dtype, layout=layout)
            for dtype in dtypes
            for layout in get_args(Layout)
        ]

    @property
    def needs_scale(self) -> bool:
        return self.element == "float32" and "int8" in (self.dtype, self.rescore)

    @property
    def unscaled(self) -> bool:
        """It needs a scale and has none yet: nothing was ever stored so."""
        return self.needs_scale and self.scale is None

    def bytes_each(self, dimensions: int) -> int:
        """Of one vector in its document, a finer field included."""
        kept: list[Dtype] = [self.dtype, *([self.rescore] if self.rescore else [])]
        return sum(_bytes_of_one(dtype, dimensions) for dtype in kept)

    def fields(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, int]:
        """What is stored of some vectors.

        Args:
            vectors: Of the space's element, shape (n, columns).

        Returns:
            Values of the indexed field, of the finer field, and how many values were clipped.
        """
        to = element_of(self.dtype)
        main, clipped = convert(vectors, self.element, to, scale=self.scale)
        if self.rescore is None:
            return main, None, clipped
        fine, more = convert(vectors, self.element, self.rescore, scale=self.scale)
        return main, fine, clipped + more


def stored_bytes(vector: np.ndarray, dtype: Dtype) -> int:
    """Bytes that the value takes in a document, measured by encoding it."""
    return len(bson.encode({"": to_bson(vector, dtype)})) - len(bson.encode({"": None}))


def _bytes_of_one(dtype: Dtype, dimensions: int) -> int:
    element = element_of(dtype)
    return stored_bytes(np.zeros(width(element, dimensions), NUMPY_TYPES[element]), dtype)


def check_dtype(dtype: Dtype, similarity: Similarity, quantization: Quantization) -> None:
    """Refuse what a MongoDB vector index leaves out silently, on whatever deployment.

    Atlas makes bits of int8 as of floats, which others are not known to do: the deployment decides.

    Raises:
        ConfigurationError: With the reason and the way out. Source: "Vector Quantization" of the
            Vector Search documentation.
    """
    taken = quantization == "none" or quantizes(element_of(dtype), quantization, int8_too=True)
    if not taken:
        raise ConfigurationError(
            f"search_index has `quantization: {quantization}`, which the server does by itself to "
            f"float vectors, but vector_store has `dtype: {dtype}`, which it would leave out of "
            "the index: remove one of the two"
        )
    if dtype == "packed_bit" and similarity != "euclidean":
        raise ConfigurationError(
            f"vectors of `dtype: packed_bit` can only be compared by `similarity: euclidean` (the "
            f"bits that differ), not {similarity}"
        )


def quantizes(element: Element, quantization: Quantization, *, int8_too: bool) -> bool:
    """Whether an index that quantizes takes such vectors.

    Args:
        element: Of the vectors.
        quantization: What the index does.
        int8_too: The deployment makes bits of int8 as well, as Atlas does since 19 October 2026.
    """
    if element == "int8":
        return quantization == "binary" and int8_too
    return element == "float32"


def check_dimensions(dimensions: int, dtype: Dtype, quantization: Quantization) -> None:
    """Refuse a width that an index cannot have.

    Raises:
        ConfigurationError: With the way out. Source: "Index Fields for Vector Search".
    """
    if dimensions > MAX_DIMENSIONS:
        raise ConfigurationError(
            f"the vectors have {dimensions} dimensions, an index at most {MAX_DIMENSIONS}: ask the "
            "model for fewer"
        )
    if dimensions % 8 and dtype == "packed_bit":
        raise ConfigurationError(
            f"`dtype: packed_bit` packs eight dimensions into a byte, but the vectors have "
            f"{dimensions}: choose a multiple of 8"
        )
    if dimensions % 8 and quantization == "binary":
        raise ConfigurationError(
            f"`quantization: binary` needs a multiple of 8 dimensions, not {dimensions}"
        )


assert set(NUMPY_TYPES) == set(get_args(Element))
