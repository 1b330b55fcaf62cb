"""The jobs that change which of a pipeline's spaces serves: to be launched by hand, and recorded.

They stand beside the pipeline's own job, whose runs never promote or retire anything by themselves.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.tags import USER_TAG
from pydantic import Field

from assets import run_tags, tagging
from assets.opened import opened_to_change, required
from assets.report import candidate
from assets.work.changing.flipping import Flipped
from assets.work.changing.promoting import promote
from assets.work.changing.retiring import retire
from assets.work.changing.rolling_back import rollback


class SpaceConfig(dg.Config):
    """Which space, and whether it is done whatever speaks against it."""

    space: str = Field(
        min_length=1,
        description="Id of the space, or the beginning of one that no other has; `embeddings "
        "spaces` lists them.",
    )
    force: str | None = Field(
        default=None,
        description="Why it is done although the gate, or `retire_after_days`, speaks against it; "
        "kept in the history.",
    )


class WhyConfig(dg.Config):
    """In whose words."""

    why: str = Field(default="", description="Kept in the history.")


def build_changing_jobs(pipeline: str, prefix: str) -> Sequence[dg.JobDefinition]:
    """`<pipeline>_promote`, `<pipeline>_rollback` and `<pipeline>_retire`, of one step each.

    Args:
        pipeline: Its name.
        prefix: Of its resources' keys.
    """

    @dg.op(
        name=f"{pipeline}_promote_space",
        description=f"Lets another space of {pipeline} serve, once the gate lets it through.",
        required_resource_keys=required(prefix),
    )
    def promote_space(context: dg.OpExecutionContext, config: SpaceConfig) -> None:
        with opened_to_change(context, pipeline, prefix) as o:
            _told(context, promote(o, config.space, force=config.force, by=_by(context)))

    @dg.op(
        name=f"{pipeline}_rollback_space",
        description=f"Lets the space of {pipeline} serve that did before, at once.",
        required_resource_keys=required(prefix),
    )
    def rollback_space(context: dg.OpExecutionContext, config: WhyConfig) -> None:
        with opened_to_change(context, pipeline, prefix) as o:
            _told(context, rollback(o, why=config.why, by=_by(context)))

    @dg.op(
        name=f"{pipeline}_retire_space",
        description=f"Takes a space of {pipeline} away: its index, its vectors, and the batches "
        "that nothing needs. Killed and launched again, it goes on.",
        required_resource_keys=required(prefix),
    )
    def retire_space(context: dg.OpExecutionContext, config: SpaceConfig) -> None:
        with opened_to_change(context, pipeline, prefix) as o:
            done = retire(o, config.space, force=config.force, by=_by(context))
            tagging.changed_space(context, done.space_id, done.vectors)
        context.add_output_metadata(
            {
                "retired": done.space_id,
                "vectors": done.vectors,
                "embedding batches": done.batches,
                "index": done.index or "stays: others have vectors at its path",
            }
        )

    def job(name: str, op: dg.OpDefinition) -> dg.JobDefinition:
        @dg.job(
            name=f"{pipeline}_{name}",
            description=op.description,
            executor_def=dg.in_process_executor,
            run_tags={run_tags.PIPELINE: pipeline},
        )
        def changing() -> None:
            op()

        return changing

    named = (("promote", promote_space), ("rollback", rollback_space), ("retire", retire_space))
    return [job(name, op) for name, op in named]


def _by(context: dg.OpExecutionContext) -> str:
    """The run, and whom the Dagster UI knows to have launched it."""
    user = context.run.tags.get(USER_TAG)
    return f"{user}, run {context.run.run_id}" if user else f"run {context.run.run_id}"


def _told(context: dg.OpExecutionContext, done: Flipped) -> None:
    tagging.changed_space(context, done.now, 1)
    said = candidate.flipped(done)
    context.add_output_metadata(said)
