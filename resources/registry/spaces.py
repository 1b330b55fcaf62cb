"""What each space id means: `embedding_spaces`."""

from collections.abc import Callable

from pymongo.collection import Collection

from resources.core.moment import now
from resources.core.space import EmbeddingSpace


class Spaces:
    def __init__(self, collection: Collection) -> None:
        self._spaces = collection

    def record(self, space: EmbeddingSpace) -> None:
        self._spaces.update_one(
            {"_id": space.id},
            {"$setOnInsert": {**space.to_document(), "first_seen": now()}},
            upsert=True,
        )

    def get(self, space_id: str) -> EmbeddingSpace | None:
        document = self._spaces.find_one({"_id": space_id})
        return EmbeddingSpace.from_document(document) if document else None

    def all(self) -> dict[str, EmbeddingSpace]:
        """Every space that was ever recorded, by its id."""
        rows = self._spaces.find().sort("_id", 1)
        return {row["_id"]: EmbeddingSpace.from_document(row) for row in rows}

    def int8_scale(self, space_id: str, measure: Callable[[], float] | None = None) -> float | None:
        """The factor that brings the space's float32 vectors to int8; once fixed it stays.

        Args:
            space_id: A recorded space.
            measure: Finds the factor where there is none yet; of two at once, one is kept.
        """
        document = self._spaces.find_one({"_id": space_id}, {"int8_scale": 1}) or {}
        if "int8_scale" in document or measure is None:
            return document.get("int8_scale")
        self._spaces.update_one(
            {"_id": space_id, "int8_scale": {"$exists": False}}, {"$set": {"int8_scale": measure()}}
        )
        return self.int8_scale(space_id)
