"""The door of assets and checks: a step's pipeline, opened, with its errors explained."""

import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import dagster as dg
from pydantic import ValidationError

from assets import tagging
from assets.about import ASSETS, CANDIDATE
from assets.failing import StepFailed
from assets.retrying import Tries
from assets.sharding import shard_of_step
from assets.time_limit import limited
from assets.work.configured import RESOURCES
from assets.work.heap import settled_heap
from assets.work.opened import Opened
from resources.core.config import StrictResource
from resources.core.credentials import hidden, in_clear, in_settings, way_out, without_secrets
from resources.core.errors import ConfigurationError, EmbeddingsError, ProviderError
from resources.core.length import length
from resources.core.progress import duration, voiced
from resources.core.variables import unset

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext

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
    candidate: bool = False,
    shards: int = 1,
    piece: bool = False,
) -> Iterator[Opened]:
    """Open the pipeline of a step, in the space that serves: an asset holds it, a check only looks.

    A run's first asset has everything checked before it reads or spends anything.

    Args:
        context: Of the step.
        pipeline: Name of the pipeline.
        prefix: Of its resources' keys.
        hold: An asset holds it.
        candidate: In the space that is built beside it instead; where there is none, the pipeline
            as its settings have it, and nobody holds it.
        shards: In how many the pipeline's work is divided.
        piece: The step is of one of them.

    Raises:
        RetryRequested: From the failure, where it may pass by itself.
        StepFailed: With the sentence of an error that a user can act on; not to be retried.
    """
    tries = Tries.of(context, getattr(context.resources, f"{prefix}runs"))
    with _entered(context, pipeline, prefix, tries=tries) as (found, stack, kept):
        found.shards, found.shard = shards, shard_of_step(context, shards) if piece else None
        found.check_settings()
        found.check_lanes()
        if not candidate:
            stack.enter_context(_way_out(found))
        lane = (found.candidate or found) if candidate else found.kept
        kept.append(lane)
        idle = lane.left_alone or (candidate and found.candidate is None)
        if hold and not idle and isinstance(context, dg.AssetExecutionContext):
            stack.enter_context(_held(context, lane, tries))
        yield lane


@contextmanager
def opened_to_change(
    context: dg.OpExecutionContext, pipeline: str, prefix: str
) -> Iterator[Opened]:
    """Open the pipeline of a step that changes which of its spaces serves, as its settings have it.

    It needs no key of a provider before something is embedded.

    Raises:
        StepFailed: With the sentence of an error that a user can act on; not to be retried.
    """
    with _entered(context, pipeline, prefix, later=("embedder", "rerank")) as (found, _, _):
        yield found


@contextmanager
def _entered(
    context: Context,
    pipeline: str,
    prefix: str,
    *,
    later: Collection[str] = (),
    tries: Tries | None = None,
) -> Iterator[tuple[Opened, ExitStack, list[Opened]]]:
    """The pipeline, what closes what it opens, and a list of what else holds secrets.

    Args:
        context: Of the step.
        pipeline: Name of the pipeline.
        prefix: Of its resources' keys.
        later: Resources whose variables need not be set before they are used.
        tries: Of the step, where it may have several.
    """
    tagging.begun(context, pipeline)
    if tries and tries.settings.max_runtime:
        tagging.limit(context, length(tries.settings.max_runtime))

    def resource(key: str) -> StrictResource:
        # Overrides by run config are in here, and in no resource that is nested in another.
        return getattr(context.resources, prefix + key)

    def usable(key: str) -> StrictResource:
        found = resource(key)
        if key not in later and any(unset(found)):
            needed = {name: each for each in RESOURCES for name in unset(resource(each))}
            raise ConfigurationError(_not_set(pipeline, needed))
        return found

    def given(key: str) -> Mapping[str, Any]:
        resources: Any = context.run.run_config.get("resources") or {}
        return (resources.get(prefix + key) or {}).get("config") or {}

    kept: list[Opened] = []
    most = tries.settings.max_step_runtime if tries else None

    def secrets() -> set[str]:
        settings = [resource(key) for key in RESOURCES]
        # A space that serves may be embedded by what the settings do not name any more.
        settings += [vars(each)["embedder"] for each in kept if "embedder" in vars(each)]
        return {secret for each in settings for secret in in_settings(each)}

    def tell(line: str) -> None:
        context.log.info(hidden(line))

    with (
        _explained(context, secrets, tries),
        settled_heap(),
        voiced(tell, f"at work on {_subject(context)}") as log,
        limited(most, _subject(context), context.log.warning),
        ExitStack() as stack,
    ):
        _not_too_late(context)
        _nothing_in_clear(context.run.run_config)
        found = Opened(
            pipeline,
            usable,
            stack,
            run=context.run.run_id,
            log=log,
            warn=lambda line: context.log.warning(hidden(line)),
            finished=partial(_finished, context.instance),
            given=given,
        )
        yield found, stack, kept


@contextmanager
def _way_out(found: Opened) -> Iterator[None]:
    """Where the space that serves cannot be kept fresh, say how the other one is built anyway."""
    try:
        yield
    except (ProviderError, ConfigurationError) as error:
        if found.candidate is None:
            raise
        kind = ProviderError if isinstance(error, ProviderError) else ConfigurationError
        raise kind(
            f"{error}; this is about the space {found.record.serving}, which serves while another "
            "one is built: `model_change: {config: {keep_serving: false}}` in the run's config "
            "builds that one, and leaves the one that serves as it is",
            passing=error.passing,
        ) from error


def _not_set(pipeline: str, needed: Mapping[str, str]) -> str:
    names = " and ".join(f"{name} for its {key}" for name, key in needed.items())
    it, one = ("it", "one") if len(needed) == 1 else ("them", "ones")
    return (
        f"pipeline {pipeline} needs {names}, which the process that runs it does not have: set "
        f"{it} where Dagster is started, or in `.env`, and start Dagster again; or choose what "
        f"needs no such {one} in the run's config"
    )


def _subject(context: Context) -> str:
    at = context if isinstance(context, dg.OpExecutionContext) else context.op_execution_context
    return at.op.name.split("__", 1)[-1]


@contextmanager
def _held(context: dg.AssetExecutionContext, found: Opened, tries: Tries) -> Iterator[None]:
    layer = context.job_def.asset_layer
    selected = context.run.asset_selection or layer.selected_asset_keys
    node = layer.asset_graph.get(context.asset_key)
    # A run may hold what fills the source as well, and what follows the index: none of ours.
    names = [CANDIDATE] if context.asset_key.path[-1] == CANDIDATE else ASSETS
    ours = selected & {dg.AssetKey([found.name, asset]) for asset in names}
    last = not ours & node.child_keys
    with found.work(last=last, one_process=_one_process(context), keep=tries.worth):
        if not ours & node.parent_keys:
            found.check()
        # A step of a plan that was chosen before it, while nothing was held in between.
        later = bool(ours & node.parent_keys) or tries.again
        if later and context.asset_key.path[-1] in ASSETS[1:]:
            found.check_newest()
        yield


def _one_process(context: dg.AssetExecutionContext) -> bool:
    execution: Any = context.run.run_config.get("execution") or {}
    named = context.job_def.executor_def.name in _IN_ONE_PROCESS
    return named or "in_process" in (execution.get("config") or {})


def _finished(instance: dg.DagsterInstance, run: str) -> bool | None:
    known = instance.get_run_by_id(run)
    return None if known is None else known.is_finished


def _not_too_late(context: Context) -> None:
    """Refuse to work for a run that has ended: a broker may bring a step hours later."""
    run = context.run.run_id
    if _finished(context.instance, run):
        raise ConfigurationError(f"run {run} has ended, and this step of it begins only now")


def _nothing_in_clear(run_config: Mapping[str, Any]) -> None:
    for path, what in in_clear(run_config):
        raise ConfigurationError(
            f"{'.'.join(map(str, path))} {what}, and stands in this run's config now: replace that "
            f"secret, delete this run; {way_out(path)}"
        )


@contextmanager
def _explained(
    context: Context,
    secrets: Callable[[], Iterable[str]],
    tries: Tries | None,
) -> Iterator[None]:
    """Errors as Dagster is to keep them: a sentence, and what else is told without secrets."""
    again = False
    try:
        yield
    except EmbeddingsError as error:
        again = tries is not None and tries.worth(error)
        raised = without_secrets(error, secrets())
        sentence = str(raised)
    except ValidationError as error:
        raised = without_secrets(error, secrets())
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        sentence = hidden(f"{error.title}: {where}: {first['msg']}", secrets())
    except Exception as error:
        found = without_secrets(error, secrets())
        if found is error:
            raise
        raise found from found.__cause__
    else:
        return
    # For who looks into it; the Dagster UI shows this level when asked to.
    context.log.debug(hidden("".join(traceback.format_exception(raised)), secrets()))
    failed = StepFailed(sentence, kind=type(raised).__name__)
    failed.__cause__ = raised
    if tries is not None and again:
        pause = duration(tries.pause.total_seconds())
        context.log.warning(f"{sentence}; the step is tried again in {pause}")
        raise tries.request(failed)
    raise failed
