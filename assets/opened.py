"""The door of assets and checks: a step's pipeline, opened, with its errors explained."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import dagster as dg
from pydantic import ValidationError

from assets import tagging
from assets.about import ASSETS
from assets.work.heap import settled_heap
from assets.work.opened import RESOURCES, Opened
from resources.core.errors import EmbeddingsError

_IN_ONE_PROCESS = ("execute_in_process_executor", "in_process")


def required(prefix: str) -> set[str]:
    """The keys as Dagster knows them, where those of several pipelines live in one location."""
    return {prefix + key for key in RESOURCES}


@contextmanager
def opened(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    pipeline: str,
    prefix: str,
    *,
    hold: bool = True,
) -> Iterator[Opened]:
    """Open the pipeline of a step: an asset holds it, a check only looks.

    A run's first asset has everything checked before it reads or spends anything.

    Args:
        context: Of the step.
        pipeline: Name of the pipeline.
        prefix: Of its resources' keys.
        hold: An asset holds it.

    Raises:
        dagster.Failure: With the sentence of an error that a user can act on; not to be retried.
    """
    tagging.begun(context, pipeline)
    with _explained(), settled_heap(), ExitStack() as stack:
        found = Opened(
            pipeline,
            # Overrides by run config are in here, and in no resource that is nested in another.
            lambda key: getattr(context.resources, prefix + key),
            stack,
            run=context.run.run_id,
            log=context.log.info,
            warn=context.log.warning,
            finished=partial(_finished, context.instance),
        )
        found.check_settings()
        if hold and isinstance(context, dg.AssetExecutionContext):
            stack.enter_context(_held(context, found))
        yield found


@contextmanager
def _held(context: dg.AssetExecutionContext, found: Opened) -> Iterator[None]:
    layer = context.job_def.asset_layer
    selected = context.run.asset_selection or layer.selected_asset_keys
    node = layer.asset_graph.get(context.asset_key)
    # A run may hold what fills the source as well, and what follows the index: none of ours.
    ours = selected & {dg.AssetKey([found.name, asset]) for asset in ASSETS}
    last = not ours & node.child_keys
    with found.work(last=last, one_process=_one_process(context)):
        if not ours & node.parent_keys:
            found.check()
        yield


def _one_process(context: dg.AssetExecutionContext) -> bool:
    execution: Any = context.run.run_config.get("execution") or {}
    named = context.job_def.executor_def.name in _IN_ONE_PROCESS
    return named or "in_process" in (execution.get("config") or {})


def _finished(instance: dg.DagsterInstance, run: str) -> bool | None:
    known = instance.get_run_by_id(run)
    return None if known is None else known.is_finished


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except EmbeddingsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise dg.Failure(
            description=f"{error.title}: {where}: {first['msg']}", allow_retries=False
        ) from error
