"""Asset checks: each sits on the asset it judges, and says what to do where it fails."""

from collections.abc import Callable, Sequence
from inspect import getdoc
from typing import Any

import dagster as dg
import numpy as np

from assets.failing import StepFailed
from assets.opened import opened, required
from assets.sharding import partitioned_checks, partitions
from assets.work.auditing import examine
from assets.work.opened import Opened
from assets.work.plan import read_ids
from assets.work.planning import MADE, STORED
from assets.work.proving import probe
from assets.work.spaces import missing_of
from resources.core.errors import BatchStoreError, ProviderError
from resources.core.keys import key
from resources.core.markdown import literal
from resources.core.shards import shard_name, shard_of
from resources.embedders.base import check_reply
from resources.models import lifecycle
from resources.models.catalogue import find

MAX_QUARANTINE_SHARE = 0.05
SAMPLED_BATCHES = 20
AUDITED_BATCHES = 5
IN_SHARDS = ("embedding_batches", "stored_vectors")
"""Assets that have partitions, in a pipeline of more than one shard."""


def build_checks(pipeline: str, prefix: str, shards: int = 1) -> Sequence[dg.AssetChecksDefinition]:
    def build(
        asset: str,
        judge: Callable[[Opened], dg.AssetCheckResult],
        *,
        blocking: bool = False,
        after: str = "",
    ) -> dg.AssetChecksDefinition:
        # One that fails blocks what follows in its own shard.
        piece = asset in IN_SHARDS

        @dg.asset_check(
            asset=dg.AssetKey([pipeline, asset]),
            name=judge.__name__,
            description=getdoc(judge),
            blocking=blocking,
            additional_deps=[dg.AssetKey([pipeline, after])] if after else None,
            required_resource_keys=required(prefix),
            partitions_def=partitions(shards) if piece else None,
        )
        def check(context: dg.AssetCheckExecutionContext) -> Any:
            with opened(context, pipeline, prefix, shards=shards, piece=piece) as o:
                found = _left_alone(o) if o.left_alone else judge(o)
            # The Dagster UI reads it as Markdown, and it may name what stands in documents.
            yield found._replace(description=literal(found.description or ""))
            if blocking and not found.passed:  # Dagster would say only that it failed
                sentence = f"the check {judge.__name__} failed: {found.description}"
                raise StepFailed(sentence, kind="CheckFailed")

        return check

    with partitioned_checks():
        return _checks(build)


def _checks(build: Callable[..., dg.AssetChecksDefinition]) -> Sequence[dg.AssetChecksDefinition]:
    return [
        # The provider and MongoDB may refuse what the source's reading has not.
        build("source_documents", few_in_quarantine, after="stored_vectors"),
        build("embedding_batches", batches_are_sound, blocking=True),
        build("stored_vectors", one_space, blocking=True),
        build("stored_vectors", vectors_as_embedded),
        build("stored_vectors", all_stored, blocking=True),
        build("stored_vectors", model_is_current),
        build("search_index", index_is_complete),
    ]


def _left_alone(o: Opened) -> dg.AssetCheckResult:
    said = f"the space that serves is left as it is: {o.left_alone}"
    return dg.AssetCheckResult(passed=True, description=said)


def few_in_quarantine(o: Opened) -> dg.AssetCheckResult:
    """At most one record in twenty stands in quarantine."""
    if o.plan.ids is not None:  # of the others it is known from before
        held = o.registry.quarantine.count(o.lane)
        return _few(o, held, o.store.count() + held)
    counts = o.plan.counts
    # What the source's reading refuses is not among its chunks; what is refused later is.
    rejected = counts.get("rejected")
    if rejected is None:
        rejected = o.registry.quarantine.count(o.lane, "source")
    return _few(o, rejected + _refused(o), counts["source"] + rejected)


def _few(o: Opened, held: int, total: int) -> dg.AssetCheckResult:
    noun = "chunks" if o.source.chunking.describe() else "records"
    share = held / total if total else 0.0
    return dg.AssetCheckResult(
        passed=share <= MAX_QUARANTINE_SHARE,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{held:,} of {total:,} {noun} {'is' if held == 1 else 'are'} in quarantine"
        + (f": `embeddings quarantine list {o.name}` shows why" if held else ""),
        metadata={"in quarantine": held, "share in quarantine": round(share, 4)},
    )


def _refused(o: Opened) -> int:
    """Chunks of the plan's source that a provider or MongoDB refuses."""
    # Of a source that was not read to its end, entries of the rest stay.
    runs = None if o.plan.counts.get("whole", True) else (o.plan.run, o.run)
    return o.registry.quarantine.count(o.lane, "provider", "store", runs=runs)


def batches_are_sound(o: Opened) -> dg.AssetCheckResult:
    """Batches of the plan are there, of the right width, finite and of unit length."""
    plan = o.plan
    parts = plan.of_kind(*MADE)
    if o.shard is not None:
        parts += o.shared.plan.of_kind(*MADE)
    # Evenly spread, so that a long run is judged along its whole length.
    step = max(1, len(parts) // SAMPLED_BATCHES)
    problems, rows = [], 0
    for part in parts[::step]:
        try:
            batch = o.batches.read_batch(plan.space.id, part.batch)
            check_reply(batch.vectors, len(batch.lineage), plan.space)
            rows += len(batch.lineage)
        except (BatchStoreError, ProviderError) as error:
            problems.append(str(error))
    return dg.AssetCheckResult(
        passed=not problems,
        description=problems[0] if problems else f"{rows:,} vectors looked at",
        metadata={"vectors compared": rows, "embedding batches of the plan": len(parts)},
    )


def one_space(o: Opened) -> dg.AssetCheckResult:
    """Every stored vector has its lineage, and all are of the pipeline's space."""
    store, space = o.store, o.space.id
    bare = store.without_lineage()
    others = _others(o)
    problem = ""
    if others:
        listed = ", ".join(f"{count:,} of {name}" for name, count in others.items())
        problem = (
            f"{store.key} also holds {listed}: materialize the pipeline they belong to, or "
            "give each space a path of its own"
        )
    # In place, and where vectors are adopted, no search finds them.
    elif bare and not (store.in_place or store.adopt):
        problem = (
            f"{bare:,} documents of {store.key} have a vector without lineage: they were not "
            "written by this project; choose another `path`, or remove them"
        )
    return dg.AssetCheckResult(
        passed=not problem,
        description=problem or f"all vectors are of the space {space}",
        metadata={
            "vectors without lineage": bare,
            "vectors of other spaces": sum(others.values()),
        },
    )


def _others(o: Opened) -> dict[str, int]:
    """Vectors of other spaces, by space; of a shard not those that other shards will replace."""
    store, space = o.store, o.space.id
    if o.shard is None:
        return {name: store.count_space(name) for name in store.spaces() if name != space}
    found: dict[str, int] = {}
    for other, source_id, mine in store.of_other_spaces(space):
        if not mine or shard_of(source_id, o.shards) == o.shard:
            found[other] = found.get(other, 0) + 1
    return found


def vectors_as_embedded(o: Opened) -> dg.AssetCheckResult:
    """Stored vectors of some batches are what was embedded; an audit looks at all."""
    store, space, batches = o.store, o.space, o.batches
    names = batches.batches(space.id)
    step = max(1, len(names) // AUDITED_BATCHES)
    found = examine(space, names=names[::step], batches=batches, store=store, all_shapes=False)
    faults = found.describe()
    return dg.AssetCheckResult(
        passed=not faults,
        description=(
            f"{faults}: `embeddings audit {o.name} --repair` compares all and mends them"
            if faults
            else f"{found.compared:,} vectors are as they were embedded"
        ),
        metadata={"vectors compared": found.compared},
    )


def all_stored(o: Opened) -> dg.AssetCheckResult:
    """Every chunk of the source has its vector, or stands in quarantine."""
    if o.shard is not None:
        return _all_stored_of_shard(o)
    wanted, ids, of = o.plan.counts["source"], o.plan.ids, ""
    # Of what the source's reading refuses nothing is among its chunks.
    if ids is None:
        stored = o.store.count()
        held = o.registry.quarantine.count(o.lane, "provider", "store")
        missing = max(0, wanted - stored - held)
    else:
        of = f" of the {len(ids):,} records that were compared alone"
        missing, stored, held = missing_of(o)
    return dg.AssetCheckResult(
        passed=not missing,
        description=(
            f"{missing:,} of {wanted:,} chunks{of} have no vector: materialize the whole pipeline"
            if missing
            else f"{stored:,} vectors for {wanted:,} chunks{of}"
        ),
        metadata={"chunks": wanted, "vectors stored": stored, "in quarantine": held},
    )


def _all_stored_of_shard(o: Opened) -> dg.AssetCheckResult:
    """The server cannot count a shard: what its plan was to store is looked up, chunk by chunk."""
    plan, missing = o.plan, 0
    held = plan.counts["held"]
    for part in plan.of_kind(*STORED):
        ids = {key(chunk_id): chunk_id for chunk_id in read_ids(o.batches, plan, part)}
        for name, state in o.store.stored(list(ids.values())).items():
            if state.space_id == plan.space.id:
                ids.pop(name, None)
        aside = o.registry.quarantine.holding(o.lane, list(ids.values())) if ids else set()
        held += len(aside)
        missing += len(ids) - len(aside)
    wanted, name = plan.counts["source"], shard_name(plan.shard or 0, plan.shards)
    stored = wanted - held - missing
    return dg.AssetCheckResult(
        passed=not missing,
        description=(
            f"{missing:,} of {wanted:,} chunks of the shard {name} have no vector: materialize "
            "that shard again"
            if missing
            else f"{stored:,} vectors for {wanted:,} chunks of the shard {name}"
        ),
        metadata={"chunks": wanted, "vectors stored": stored, "in quarantine": held},
    )


def model_is_current(o: Opened) -> dg.AssetCheckResult:
    """The model of the space that serves is one that its maker still recommends."""
    model = o.embedder.facts().model
    old = lifecycle.outdated_space(o.space, model)
    known = old.entry if old else find(o.space.provider, model)
    said = "active" if known else "not in the catalogue: `embeddings models` lists what is known"
    said = f"{model} is {said}"
    if old:
        said = "; ".join(filter(None, [str(old), old.way_out(o.name)]))
    return dg.AssetCheckResult(
        passed=old is None,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "model": model,
            "status": known.state() if known else "not in the catalogue",
            **({"successor": old.successor.model} if old and old.successor else {}),
        },
    )


def index_is_complete(o: Opened) -> dg.AssetCheckResult:
    """The index serves as many vectors as are stored, and finds those it is asked for."""
    found = o.engine.coverage(thorough=False)
    probes = probe(o, o.engine)
    lost = [p.id for p in probes if not p.right]
    problem = found.why
    if lost and not problem:
        problem = f"the index does not find {', '.join(lost)}: materialize search_index again"
    return dg.AssetCheckResult(
        passed=not problem,
        description=problem or f"{found.indexed:,} vectors indexed and stored",
        metadata={
            "vectors indexed": found.indexed,
            "vectors stored": found.stored,
            "probes": len(probes),
            "probes found": len(probes) - len(lost),
            "mean probe score": float(np.mean([p.score for p in probes] or [0.0])),
        },
    )
