"""Remove embedding batches that have grown old and that nothing needs any more."""

from collections.abc import Sequence
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
    planned, held = batches.plans.batches(), registry.evaluations.held_batches()
    batches.queries.remove_old(limit, registry.evaluations.spaces_in_use(limit))
    removed = 0
    for space_id in batches.spaces():
        stores = [entry.key for entry in registry.stores.of_space(space_id)]
        for name in batches.batches(space_id, older_than=limit):
            if name in planned or (space_id, name) in held:
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
