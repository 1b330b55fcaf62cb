"""Taking vectors away again: what vanished, what was refused, what is no longer trusted."""

from collections.abc import Sequence
from typing import Any

from pymongo import DeleteOne, UpdateOne

from resources.core.chunks import Chunk
from resources.mongodb.lease import Lease
from resources.vector_store.ownership import INSERTED_FIELD, only_lineage
from resources.vector_store.store import VectorStore, names_of
from resources.vector_store.writes import write_all


class VectorRemover:
    """Removes from a store; with a lease, nothing that a newer holder of it has written.

    Args:
        store: Where from; only this pipeline's own vectors.
        lease: Held for as long as there is something to remove.
        drops_rescore: Remove the finer field that an earlier format kept.
    """

    def __init__(
        self, store: VectorStore, lease: Lease | None = None, *, drops_rescore: bool = False
    ) -> None:
        self._store, self._collection, self._lease = store, store.collection, lease
        self._drops_rescore = drops_rescore

    def delete(self, ids: Sequence[Any]) -> int:
        """Remove the vectors of chunks whose source vanished; only this pipeline's own.

        A document goes with them if we made it and no other vector is left in it.
        """
        return self._removed([{**self._fenced(chunk_id), **self._store.mine} for chunk_id in ids])

    def retire(self, ids: Sequence[Any], space_id: str) -> int:
        """As `delete`, of vectors of one space that are no more to be searched."""
        mine = {**self._store.mine, f"{self._store.lineage_path}.space": space_id}
        return self._removed([{**self._fenced(chunk_id), **mine} for chunk_id in ids])

    def withdraw(self, chunks: Sequence[tuple[Chunk, bool]], space_id: str) -> int:
        """Remove what is stored of chunks that got no vector, because their text was refused.

        A vector of another space would be left for ever, and make two spaces of one index, and one
        in another format cannot be searched with the others; one of an older text stays until it
        is certain that there will be no new one.

        Args:
            chunks: Each with whether the refusal is for good.
            space_id: The one that every vector shall be in.
        """
        lineage, wanted = self._store.lineage_path, []
        for chunk, lasting in chunks:
            wrong: list[dict[str, Any]] = [
                {f"{lineage}.space": {"$ne": space_id}},
                {f"{lineage}.stored_as": {"$nin": names_of(self._store.format)}},
            ]
            if lasting:
                wrong.append({f"{lineage}.text_hash": {"$ne": chunk.text_hash}})
                wrong.append({f"{lineage}.cut": True})
            wanted.append({**self._fenced(chunk.id), **self._store.mine, "$or": wrong})
        return self._removed(wanted)

    def _removed(self, wanted: Sequence[dict[str, Any]]) -> int:
        if not wanted:
            return 0
        store = self._store
        paths = [store.path, store.lineage_path]
        if store.format.rescore or self._drops_rescore:
            paths.append(store.rescore_path)
        removed = 0
        if not store.in_place:
            ours = {INSERTED_FIELD: {"$exists": True}, **only_lineage(store.lineage_path)}
            self._check()
            deletes = [DeleteOne({**condition, **ours}) for condition in wanted]
            removed += write_all(self._collection, deletes).written
        if removed < len(wanted):
            self._check()
            unset = {"$unset": dict.fromkeys(paths, "")}
            updates = [UpdateOne(condition, unset) for condition in wanted]
            removed += write_all(self._collection, updates).written
        if "." in store.lineage_path:
            self._sweep(store.lineage_path, [condition["_id"] for condition in wanted])
        return removed

    def _sweep(self, path: str, ids: Sequence[Any]) -> None:
        """Take away what held a lineage and holds nothing now: it was ours alone."""
        parents = path.split(".")[:-1]
        while parents:
            name = ".".join(parents)
            empty = {"_id": {"$in": list(ids)}, name: {}}
            self._collection.update_many(empty, {"$unset": {name: ""}})
            parents.pop()

    def distrust(self, ids: Sequence[Any]) -> int:
        """Forget which text the vectors are of, so that the next run writes them anew."""
        self._check()
        mine = {**self._fenced({"$in": list(ids)}), **self._store.mine}
        change = {"$unset": {f"{self._store.lineage_path}.text_hash": ""}}
        return self._collection.update_many(mine, change).modified_count

    def _fenced(self, chunk_id: Any) -> dict[str, Any]:
        """Finds a chunk, unless a newer holder of the pipeline's lease has written it."""
        if self._lease is None:
            return {"_id": chunk_id}
        token = f"{self._store.lineage_path}.token"
        return {"_id": chunk_id, token: {"$not": {"$gt": self._lease.token}}}

    def _check(self) -> None:
        if self._lease:
            self._lease.check()

    def _check_overtaken(self) -> None:
        if self._lease and self._lease.overtaken():
            raise self._lease.stale()
