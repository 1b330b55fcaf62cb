"""Remove embedding batches that have grown old and that nothing needs any more."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from pymongo import MongoClient

from resources.batch_store.files import DamagedFile, MissingFile
from resources.batch_store.store import BatchStore
from resources.core.lineage import lineage_path
from resources.core.store_key import StoreKey
from resources.registry.registry import Registry


def remove_old_batches(
    days: float, *, batches: BatchStore, client: MongoClient, registry: Registry
) -> int:
    """Remove batches older than that, unless somebody may need them.

    Those stay that a plan names, that an evaluation holds which has not expired, or of which a
    vector is stored. Vectors of judged queries go with them, in spaces that nobody evaluates.

    Whichever pipeline of this deployment that is: a batch is what a wiped collection, or another
    format, is filled from without asking the provider. Two deployments must therefore not share a
    batch store from which one of them removes batches.

    Returns:
        How many were removed.
    """
    limit = datetime.now(UTC) - timedelta(days=days)
    planned, held = batches.plans.batches(), _held(registry)
    where = batches, client, registry
    batches.queries.remove_old(limit, registry.evaluations.spaces_in_use(limit))
    removed = 0
    for space_id in batches.spaces():
        names = batches.batches(space_id, older_than=limit)
        removed += _removed(space_id, names, planned | held.get(space_id, set()), *where)
    return removed


def remove_unneeded(
    space_id: str, *, batches: BatchStore, client: MongoClient, registry: Registry
) -> int:
    """As `remove_old_batches`, of one space and however old they are.

    Returns:
        How many were removed.
    """
    kept = batches.plans.batches() | _held(registry).get(space_id, set())
    names = batches.batches(space_id)
    return _removed(space_id, names, kept, batches, client, registry)


def _held(registry: Registry) -> dict[str, set[str]]:
    """Batches that evaluations hold, by space."""
    found: dict[str, set[str]] = {}
    for space_id, name in registry.evaluations.held_batches():
        found.setdefault(space_id, set()).add(name)
    return found


def _removed(
    space_id: str,
    names: Sequence[str],
    kept: Collection[str],
    batches: BatchStore,
    client: MongoClient,
    registry: Registry,
) -> int:
    stores = [entry.key for entry in registry.stores.of_space(space_id)]
    removed = 0
    for name in names:
        if name in kept:
            continue
        try:
            texts = batches.texts(space_id, name)
        except MissingFile:
            continue  # another run removes it as well
        except DamagedFile:
            texts = []
        if not _stored(client, stores, space_id, texts):
            batches.remove_batch(space_id, name)
            removed += 1
    return removed


def _stored(
    client: MongoClient, stores: Sequence[StoreKey], space_id: str, texts: Sequence[str]
) -> bool:
    for key in stores:
        lineage = lineage_path(key.path)
        wanted = {f"{lineage}.space": space_id, f"{lineage}.text_hash": {"$in": list(texts)}}
        if client[key.database][key.collection].find_one(wanted, {"_id": 1}):
            return True
    return False
