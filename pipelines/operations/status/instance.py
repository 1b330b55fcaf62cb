"""What the Dagster instance says of the runs of a pipeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.framework.modules import Declared
from pipelines.framework.sensing.runs import under_way
from pipelines.operations.runs import RunRecord, records, runs_of
from resources.core.errors import EmbeddingsError
from resources.core.moment import now


@dataclass(frozen=True)
class Ran:
    """The latest run, the latest that has ended, the latest that succeeded; whether one works."""

    last: RunRecord | None = None
    ended: RunRecord | None = None
    good: RunRecord | None = None
    busy: bool = False
    fault: str = ""


def runs(pipelines: Sequence[Declared]) -> Callable[[Declared], Ran]:
    """Of each pipeline; of an instance that cannot be read, why."""
    found: dict[str, Ran] = {}
    fault = ""
    try:
        with records() as instance:
            for each in pipelines:
                name = each.pipeline.name if each.pipeline else each.name
                shards = each.pipeline.shards if each.pipeline else 1
                busy = shards > 1 and under_way(instance, name, shards, now().timestamp())
                ran = Ran(busy=bool(busy))
                for run in runs_of(instance, name):
                    done = run.state not in ("running", "queued")
                    ran = replace(ran, last=ran.last or run)
                    ran = replace(ran, ended=ran.ended or (run if done else None))
                    if run.state == "succeeded":
                        ran = replace(ran, good=run)
                        break
                found[each.name] = ran
    except EmbeddingsError as error:
        fault = str(error)
    return lambda each: found.get(each.name) or Ran(fault=fault)
