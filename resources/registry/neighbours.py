"""Vectors of one space wherever the deployment holds them: a text is embedded once for all."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from resources.core.lineage import Lineage, lineage_path, rescore_path
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.core.vectors import VectorFormat
from resources.mongodb.deployment import UNAUTHORIZED
from resources.registry.registry import Registry
from resources.vector_store.store import VectorStore

T = TypeVar("T")


class Neighbours:
    """A pipeline's own store, and those of other pipelines with the same space.

    Only those count that keep vectors as the provider returned them.

    Args:
        stores: All of them.
        cut: Vectors of only the beginning of a text count as well.
    """

    def __init__(self, stores: Iterable[VectorStore], *, cut: bool) -> None:
        self._stores = [store for store in stores if store.keeps_all]
        self._cut = cut

    def known_texts(self, space_id: str, text_hashes: Sequence[str]) -> set[str]:
        """Which of the texts have a vector of the space anywhere."""
        known: set[str] = set()
        for store in self._stores:
            missing = [value for value in text_hashes if value not in known]
            if missing:
                known |= _allowed(
                    lambda: store.known_texts(space_id, missing, cut=self._cut),  # noqa: B023
                    set(),
                )
        return known

    def by_text(
        self, space_id: str, text_hashes: Sequence[str]
    ) -> dict[str, tuple[np.ndarray, Lineage]]:
        """Vectors, as the provider returned them, and their lineage by text hash."""
        found: dict[str, tuple[np.ndarray, Lineage]] = {}
        for store in self._stores:
            missing = [value for value in text_hashes if value not in found]
            if missing:
                found |= _allowed(
                    lambda: store.by_text(space_id, missing, cut=self._cut),  # noqa: B023
                    {},
                )
        return found


def neighbours(
    own: VectorStore,
    client: MongoClient,
    registry: Registry,
    space: EmbeddingSpace,
    *,
    cut: bool,
) -> Neighbours:
    """The pipeline's own store first, then those that the registry knows of."""
    others = [
        _open(client, entry.key, space, entry.stored_as or "float32")
        for entry in registry.stores.of_space(space.id)
        if entry.key != own.key
    ]
    return Neighbours([own, *others], cut=cut)


def _open(client: MongoClient, key: StoreKey, space: EmbeddingSpace, stored_as: str) -> VectorStore:
    return VectorStore(
        client[key.database][key.collection],
        path=key.path,
        lineage_path=lineage_path(key.path),
        rescore_path=rescore_path(key.path),
        format=VectorFormat.parse(space.element, stored_as),
        in_place=True,
        carried=(),
        pipeline="",
    )


def _allowed(read: Callable[[], T], otherwise: T) -> T:
    """What a store holds; nothing where the user may not read it."""
    try:
        return read()
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return otherwise
