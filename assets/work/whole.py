"""Whether all shards of a pipeline have carried out its plan: the index is over the whole."""

from assets.work.opened import Opened
from resources.core.errors import SearchIndexError


def refuse_a_part(o: Opened) -> None:
    """Refuse to index what only some of the shards have stored.

    Args:
        o: The pipeline, held whole.

    Raises:
        SearchIndexError: Vectors are missing, or are of another space: some shard is to store its
            own yet.
    """
    store, space, plan = o.store, o.space.id, o.plan
    others = sum(store.count_space(name) for name in store.spaces() if name != space)
    if others:
        wrong = f"{others:,} vectors at {store.key} are of other spaces than {space}"
    else:
        held = o.registry.quarantine.count(o.lane, "provider", "store")
        missing = max(0, plan.counts["source"] - store.count() - held)
        wrong = f"{missing:,} of {plan.counts['source']:,} chunks have no vector" if missing else ""
    if wrong:
        raise SearchIndexError(
            f"{wrong}: not all {o.shards} shards of {o.name} have carried out the plan {plan.id}, "
            f"and the index stays as it is; materialize the missing partitions of "
            f"{o.name}/embedding_batches and {o.name}/stored_vectors first"
        )
