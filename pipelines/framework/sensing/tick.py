"""One tick of a pipeline's sensor: what has changed, and which run it asks for."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import dagster as dg

from assets import run_tags
from assets.work.opened import Opened
from pipelines.framework.sensing import runs
from pipelines.framework.sensing.due import CANCELED_SECONDS, due
from pipelines.framework.sensing.state import State, Wanted
from resources.core.credentials import in_settings, without_secrets
from resources.core.errors import EmbeddingsError
from resources.core.moment import now
from resources.core.variables import unset
from resources.mongodb.resource import Embedded, MongoDBResource
from resources.sources.change_stream import NoChangeStreamError, read_changes
from resources.sources.changes import MAX_IDS
from resources.sources.collection import CollectionOrigin
from resources.sources.files import FileOrigin
from resources.sources.folder import FolderOrigin
from resources.sources.modified import state_of
from resources.sources.resource import SourceResource

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 60.0, 3600.0
"""After a run that failed; doubled with each that does, one after the other."""
RECHECK_SECONDS = 600.0
"""Between two looks at what makes a run due besides a change of documents."""
WHOLE_SHARE = 0.05
"""Of a collection: where more has changed, all is compared at once, not piece by piece."""

FIRST = "first look: what has changed before is not known"
CHANGES = "changes"


@dataclass(frozen=True)
class Watched:
    """A pipeline, as its sensor has to know it.

    Attributes:
        name: Its own.
        prefix: Of its resources' keys.
        settings: Name of what its definitions were made from.
        selection: Assets of a run; None for all of the job.
        fresh_for: What freshness promises; half of it passes at most without a run.
        shards: In how many it is divided.
    """

    name: str
    prefix: str = ""
    settings: str = ""
    selection: Sequence[dg.AssetKey] | None = None
    fresh_for: timedelta | None = None
    shards: int = 1

    @property
    def sensor(self) -> str:
        return f"{self.name}_changes"


_kept: dict[str, MongoDBResource] = {}


def _keep(name: str, mongodb: MongoDBResource) -> None:
    """Leave the connection open until the next tick, which gets a resource of its own."""
    _kept[name] = mongodb


class Tick:
    """One look, which launches one run at most.

    Args:
        watched: The pipeline.
        context: Of the tick, with the pipeline's resources as the environment has them.
    """

    def __init__(self, watched: Watched, context: dg.SensorEvaluationContext) -> None:
        self.watched, self.context = watched, context
        self.source: SourceResource = self._resource("source")
        self.mongodb: MongoDBResource = self._resource("mongodb")
        _keep(watched.name, self.mongodb)
        self.instance, self.now = context.instance, now().timestamp()
        self.state = State.of_cursor(context.cursor, self._of())

    def _resource(self, key: str) -> Any:
        return getattr(self.context.resources, self.watched.prefix + key)

    def _of(self) -> str:
        """What the cursor is of."""
        deployment = "" if not self.source.needs_mongodb else self.mongodb.deployment.address
        place = [deployment, self.source.describe()]
        return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:16]

    def result(self) -> dg.SensorResult:
        if missing := [name for each in self._needed() for name in unset(each)]:
            said = f"{' and '.join(missing)} must be set in the process that runs this sensor"
            return dg.SensorResult(skip_reason=said)  # the cursor stays
        if self.source.needs_mongodb and isinstance(self.mongodb.deployment, Embedded):
            return self._said(
                "the embedded server keeps no changes for those that come back later: the schedule "
                "finds what has changed"
            )
        self._settle()
        if self.state.fresh and self.context.cursor:
            self._tell("the cursor is of another source, or cannot be read")
        try:
            self._look()
        except NoChangeStreamError as error:
            return self._said(str(error))
        except EmbeddingsError as error:  # Dagster keeps it, with all that it came of
            secrets = {secret for each in self._needed() for secret in in_settings(each)}
            told = without_secrets(error, secrets)
            if told is error:
                raise
            raise told from told.__cause__
        return self._launched()

    def _needed(self) -> list[Any]:
        return [self.source, *([self.mongodb] if self.source.needs_mongodb else [])]

    # --- the run that was asked for

    def _settle(self) -> None:
        state = self.state
        if not state.run_key:
            return
        run = runs.of_key(self.instance, state.run_key)
        if run is None:
            # It may be about to be created; whoever deletes a run has it made again.
            if state.sought:
                self.state = self._back(failed=False)
            else:
                self.state = replace(state, sought=1)
        elif run.is_success:
            self.state = state.settled()
        elif run.is_finished:
            canceled = run.status is dg.DagsterRunStatus.CANCELED
            self.state = self._back(failed=True, canceled=canceled)

    def _back(self, *, failed: bool, canceled: bool = False) -> State:
        # Whoever has canceled it does not want it again at once.
        pause = CANCELED_SECONDS if canceled else PAUSE_SECONDS
        pauses = {"pause": pause, "longest": LONGEST_PAUSE_SECONDS}
        return self.state.back(failed=failed, now=self.now, **pauses)

    # --- what has changed

    def _look(self) -> None:
        if not self.source.needs_mongodb:
            self._look_at_files()
            if not self.mongodb.asleep:
                self._look_besides()
        else:
            with self.mongodb.connect() as client:
                self._look_at_stream(client)
                self._look_besides()
        if self.state.settings != self.watched.settings:
            if self.state.settings:
                self._want("the settings, or the code, have changed")
            self.state = replace(self.state, settings=self.watched.settings)

    def _look_at_files(self) -> None:
        origin = self.source.origin
        assert isinstance(origin, FileOrigin | FolderOrigin)
        found = state_of(origin)
        if found != self.state.place:
            self._want(FIRST if self.state.place is None else "files of the source have changed")
        self.state = replace(self.state, place=found)

    def _look_at_stream(self, client: Any) -> None:
        state = self.state
        if state.wanted.whole:
            self.state = replace(state, place=self._now(client))
            return
        before = state.wanted.by_key()
        found = read_changes(client, self.source, state.place, before)
        self.state = replace(state, place=found.token)
        if state.place is None:
            self._want(FIRST)
        elif found.lost:
            self._want(found.lost)
        elif found.ids and not self.source.by_id:
            self._want("documents have changed, which cannot be found by their `_id`")
        else:
            self.state = replace(self.state, wanted=Wanted(tuple(found.ids.values())))
            self._weigh(client, more=found.more)

    def _weigh(self, client: Any, *, more: bool) -> None:
        """Compare all where that is less than piece after piece."""
        state, origin = self.state, self.source.origin
        assert isinstance(origin, CollectionOrigin)
        if not more:
            self.state = replace(state, behind=0)
            return
        count = client[origin.database][origin.collection].estimated_document_count()
        changed = state.behind + len(state.wanted.ids)
        if changed >= max(MAX_IDS, WHOLE_SHARE * count):
            self._want(f"{changed:,} documents and more have changed at once")
            self.state = replace(self.state, place=self._now(client))

    def _now(self, client: Any) -> Any:
        """Where the stream stands: whatever changes before a run is launched, that reads."""
        return read_changes(client, self.source, None, {}).token

    def _look_besides(self) -> None:
        state = self.state
        every, fresh_for = RECHECK_SECONDS, self.watched.fresh_for
        if fresh_for is not None:
            every = min(every, fresh_for.total_seconds() / 4)
        if state.wanted or state.run_key or self.now - state.looked < every:
            return
        if self._under_way():
            return
        self.state = replace(state, looked=self.now)
        with ExitStack() as stack:
            o = Opened(self.watched.name, self._resource, stack)
            o.shards = self.watched.shards
            fresh_for = self.watched.fresh_for
            told = {"now": self.now, "fresh_for": fresh_for, "handed": state.before}
            if why := due(o, self.instance, **told):
                self._want(why)

    def _under_way(self) -> str:
        watched = self.watched
        return runs.under_way(self.instance, watched.name, watched.shards, self.now)

    def _want(self, why: str) -> None:
        """All of the source, and say so."""
        if not self.state.wanted.whole:
            self.state = replace(self.state, wanted=Wanted(whole=why), behind=0)
            self._tell(why)

    # --- what comes of it

    def _launched(self) -> dg.SensorResult:
        wanted, state = self.state.wanted, self.state
        what = f"the whole source ({wanted.whole})"
        if not wanted.whole:
            what = f"{len(wanted.ids):,} documents that have changed"
        busy = self._under_way()
        if busy or state.run_key:
            which = busy or "the run that was asked for"
            waits = f": {what} wait for it" if wanted else ""
            return self._skipped(f"{which} is under way{waits}")
        if not wanted:
            return self._skipped("nothing has changed")
        if self.now < state.after:
            return self._skipped(
                f"a run failed, or was canceled: {what} are tried again in "
                f"{state.after - self.now:.0f} s"
            )
        key = self._key(wanted)
        state = state.next(key)
        request = self._request(wanted, key, state)
        behind = 0 if wanted.whole else state.behind + len(wanted.ids)
        self.state = replace(
            state,
            wanted=Wanted(),
            handed=wanted,
            run_key=key,
            sought=0,
            behind=behind,
            looked=self.now,
            said="",
        )
        return dg.SensorResult([request], cursor=self.state.to_cursor())

    def _key(self, wanted: Wanted) -> str:
        until = json.dumps(self.state.place, sort_keys=True, default=str)
        # The same work from the same place is one run, whatever became of the tick.
        by = [self.context.cursor or until, wanted.whole and until, sorted(wanted.ids)]
        return f"{self.watched.name}-{hashlib.sha256(json.dumps(by).encode()).hexdigest()[:24]}"

    def _request(self, wanted: Wanted, key: str, state: State) -> dg.RunRequest:
        changes: dict[str, Any] = {"until": state.until}
        if wanted.ids:
            changes |= {"ids": list(wanted.ids), "after": state.before}
        source = {f"{self.watched.prefix}source": {"config": {"changes": changes}}}
        reason = f"all is compared: {wanted.whole}" if wanted.whole else CHANGES
        return dg.RunRequest(
            run_key=key,
            run_config={"resources": source},
            tags={run_tags.REASON: reason},
            asset_selection=self.watched.selection,
        )

    def _skipped(self, why: str) -> dg.SensorResult:
        return dg.SensorResult(skip_reason=why, cursor=self.state.to_cursor())

    def _said(self, sentence: str) -> dg.SensorResult:
        """Nothing can be done, which the log is told once."""
        if self.state.said != sentence:
            self.context.log.warning(sentence)
            self.state = replace(self.state, said=sentence)
        return self._skipped(sentence)

    def _tell(self, why: str) -> None:
        self.context.log.info(f"the whole source is to be compared: {why}")
