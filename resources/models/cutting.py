"""Which vectors can be cut to fewer dimensions, and how: models that are trained for it alone."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from resources.core.space import EmbeddingSpace
from resources.models import catalogue

LAYER_NORM = {"nomic-embed-text-v1.5"}
"""Models whose values are normalised over the whole vector before its end is cut off."""
NARROWEST = 32
"""Dimensions: with fewer nothing is told apart any more."""


def why_not(space: EmbeddingSpace, model: str, dimensions: int) -> str:
    """Why a vector of the space cannot be cut to so many dimensions; empty where it can.

    Args:
        space: Of the vectors as they are.
        model: That made them, as the catalogue calls it.
        dimensions: Fewer than they have.
    """
    if space.element != "float32":
        return f"{model} returns {space.element} vectors here, which cannot be cut"
    if dimensions >= space.dimensions:
        return f"{model} has {space.dimensions} dimensions here"
    if model.split("/")[-1] in LAYER_NORM and not dict(space.options).get("layer_norm"):
        return f"{model} is cut by its provider alone: give `dimensions` in a candidate's file"
    entry = _entry(space, model)
    if entry and (entry.shrinkable or dimensions in entry.dimensions):
        return ""
    return (
        f"the catalogue does not say that {model} can be cut to {dimensions} dimensions: add it "
        f"to one of your own, see {catalogue.VARIABLE}"
    )


def widths(space: EmbeddingSpace, model: str) -> list[int]:
    """Widths that vectors of the space can be cut to, its own first, halved down to the narrowest.

    Empty where they cannot be cut.
    """
    entry = _entry(space, model)
    offered = set(entry.dimensions) if entry else set()
    width = space.dimensions
    while width % 2 == 0 and (width := width // 2) >= NARROWEST:
        offered.add(width)
    narrower = [each for each in sorted(offered, reverse=True) if not why_not(space, model, each)]
    return [space.dimensions, *narrower] if narrower else []


def wider(space: EmbeddingSpace, model: str, ids: Iterable[str]) -> list[EmbeddingSpace]:
    """Which spaces among some hold vectors that only have to be cut, the narrowest of them first.

    Args:
        space: That is wanted.
        model: That makes its vectors, as the catalogue calls it.
        ids: Of spaces.
    """
    found = []
    for name in ids:
        width = name.rsplit("-", 2)[-2:-1]  # an id says it: see `EmbeddingSpace.id`
        if width and width[0].isdecimal():
            wide = replace(space, dimensions=int(width[0]))
            if wide.id == name and not why_not(wide, model, space.dimensions):
                found.append(wide)
    return sorted(found, key=lambda each: each.dimensions)


def _entry(space: EmbeddingSpace, model: str) -> catalogue.ModelEntry | None:
    """Of the model, also where a gateway calls it by another name than its space."""
    known = catalogue.find(space.provider, model)
    return known or catalogue.find(space.provider, space.model)


def cut(vectors: np.ndarray, space: EmbeddingSpace, dimensions: int) -> np.ndarray:
    """The leading dimensions, of unit length again where the space's vectors are."""
    if dimensions >= space.dimensions:
        return vectors
    leading = vectors[..., :dimensions]
    if not space.normalized:
        return np.ascontiguousarray(leading)
    lengths = np.linalg.norm(leading.astype(np.float64), axis=-1, keepdims=True)
    return (leading / np.where(lengths, lengths, 1)).astype(np.float32)
