"""Whether all shards of a pipeline have carried out its plan: the index is over the whole."""

from assets.work.opened import Opened
from resources.core.errors import SearchIndexError
from resources.core.shards import shard_name


def refuse_a_part(o: Opened) -> None:
    """Refuse to index what only some of the shards have stored.

    Args:
        o: The pipeline, held whole.

    Raises:
        SearchIndexError: Some shard is to store its own yet.
    """
    missing = o.registry.plans.not_stored(o.lane, o.plan.id, o.shards)
    if missing and not o.registry.plans.is_newest(o.lane, o.plan.id):
        raise SearchIndexError(
            f"the plan {o.plan.id} of {o.name} is not the one that was noted last, since the run "
            "that made it was ended right then, and the index stays as it is; materialize "
            f"{o.name}/source_documents, and what follows it"
        )
    if missing:
        names = ", ".join(shard_name(shard, o.shards) for shard in missing)
        raise SearchIndexError(
            f"the plan {o.plan.id} is not carried out by {len(missing)} of {o.shards} shards of "
            f"{o.name}, and the index stays as it is; materialize {o.name}/embedding_batches and "
            f"{o.name}/stored_vectors first, of {names}"
        )
