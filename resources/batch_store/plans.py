"""Plans in the batch store: their parts, which one counts, and which run reads which.

Layout under the batch store's root:

    plans/<pipeline>/<plan>/plan.json        what is to be done, written last
    plans/<pipeline>/<plan>/00000.parquet    chunks of one part of it
    plans/<pipeline>/current.json            the newest that is finished
    plans/<pipeline>/pins/<run>.json         the one that a run reads, from its first step on

The plan of a pipeline in shards has a manifest for each of them, and one for what they share; its
own says only how many there are, and counts the whole. So the plans of all shards change at once,
with one small file, and none is ever carried out beside another's of another time:

    plans/<pipeline>/<plan>/shard-0.json     what a shard has to do
    plans/<pipeline>/<plan>/shared.json      what is done once, for whichever of them

A space that is built beside another has a folder of its own, `<pipeline>` with its place behind
(see `Lane.name`). Spaces at the same path have one newest plan between them, since they exclude one
another: to carry out an older one of another space would undo what the newer one did.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from resources.batch_store.files import Files
from resources.core.errors import BatchStoreError
from resources.core.lane import Finished, unknown
from resources.core.shards import SHARED
from resources.core.space import EmbeddingSpace

PINNED_FOR = timedelta(days=30)
"""After which a run of which nobody knows that it has ended counts as ended."""


class Plans:
    """Plans of all pipelines; to be finished and pinned while the pipeline is held."""

    def __init__(self, files: Files, url: str) -> None:
        self._files, self._url = files, url

    def write_part(self, pipeline: str, plan: str, part: str, table: pa.Table) -> None:
        self._files.write_table(table, f"plans/{pipeline}/{plan}/{part}.parquet")

    def read_part(
        self, pipeline: str, plan: str, part: str, columns: list[str] | None = None
    ) -> pa.Table:
        """A part of a plan, or some of its columns."""
        return self._files.read_table(f"plans/{pipeline}/{plan}/{part}.parquet", columns)

    def finish(
        self,
        pipeline: str,
        plan: str,
        manifest: dict[str, Any],
        *,
        run: str,
        shards: Mapping[int, dict[str, Any]] | None = None,
    ) -> None:
        """Make a plan the newest one, whole, and that of a run.

        Args:
            pipeline: Name of the lane.
            plan: Its id.
            manifest: Of the whole.
            run: That has made it.
            shards: The manifest of each, where there are any, and that of what they share.
        """
        folder = f"plans/{pipeline}"
        for shard, of_shard in (shards or {}).items():
            self._files.write_json(f"{folder}/{plan}/{_name(shard)}", of_shard)
        self._files.write_json(f"{folder}/{plan}/{_name(None)}", manifest)
        self.pin(pipeline, plan, run=run)
        self._files.write_json(f"{folder}/current.json", {"plan": plan})

    def tidy(self, pipeline: str, finished: Finished = unknown) -> None:
        """Remove older plans in time, and what writes that were cut off have left.

        Those stay that a run may still read.

        Args:
            pipeline: Name of the lane.
            finished: Tells whether a run has ended.
        """
        self._prune(f"plans/{pipeline}", finished)
        self._files.sweep("batches")

    def pin(self, pipeline: str, plan: str, *, run: str) -> None:
        """Let a run read this plan, whichever is finished meanwhile."""
        self._files.write_json(f"plans/{pipeline}/pins/{run}.json", {"plan": plan, "run": run})

    def pinned(self, pipeline: str, *, run: str) -> dict[str, Any] | None:
        """The manifest of the plan that a run reads; None where it has not chosen one yet.

        Raises:
            BatchStoreError: It cannot be read.
        """
        try:
            plan = self._files.read_json(f"plans/{pipeline}/pins/{run}.json")["plan"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError) as error:
            raise self._damaged(pipeline) from error
        return self._manifest(pipeline, plan)

    def newest_name(self, pipeline: str) -> str | None:
        """Which plan is the newest here; None where there is none, or none that can be read."""
        try:
            return self.newest(pipeline)["id"]
        except BatchStoreError:
            return None

    def newest(self, pipeline: str) -> dict[str, Any]:
        """The manifest of the newest finished plan.

        Raises:
            BatchStoreError: There is none, or it cannot be read.
        """
        try:
            current = self._files.read_json(f"plans/{pipeline}/current.json")
            return self._manifest(pipeline, current["plan"])
        except FileNotFoundError as error:
            raise self._none(pipeline) from error
        except (ValueError, KeyError) as error:
            raise self._damaged(pipeline) from error

    def of_shard(self, pipeline: str, plan: str, shard: int) -> dict[str, Any]:
        """The manifest of a shard of a plan, or of what its shards share.

        Raises:
            BatchStoreError: It cannot be read.
        """
        return self._manifest(pipeline, plan, shard)

    def remove(self, pipeline: str, space_id: str) -> None:
        """Remove the plans of a lane whose newest is of a space; while the lane is held."""
        with suppress(BatchStoreError):  # there is none, or none that can be read
            if EmbeddingSpace.from_document(self.newest(pipeline)["space"]).id != space_id:
                return
        self._files.remove(f"plans/{pipeline}", recursive=True)

    def batches(self) -> set[str]:
        """Batches that any plan of any pipeline names, finished or not."""
        named = set()
        for pipeline in self._files.names("plans"):
            for plan in self._files.names(f"plans/{pipeline}"):
                with suppress(FileNotFoundError, NotADirectoryError, ValueError, KeyError):
                    for part in self._parts(f"plans/{pipeline}/{plan}"):
                        # What is cut from a batch of a wider space needs that one too.
                        named |= {part["batch"], part.get("origin", "").rpartition("/")[2]}
        return named

    def _parts(self, folder: str) -> Iterator[dict[str, Any]]:
        """The parts that a plan has, those of its shards with them."""
        manifest = self._files.read_json(f"{folder}/{_name(None)}")
        yield from manifest["parts"]
        shards = manifest.get("shards", 1)
        for shard in (SHARED, *range(shards)) if shards > 1 else ():
            yield from self._files.read_json(f"{folder}/{_name(shard)}")["parts"]

    def _manifest(self, pipeline: str, plan: str, shard: int | None = None) -> dict[str, Any]:
        try:
            return self._files.read_json(f"plans/{pipeline}/{plan}/{_name(shard)}")
        except FileNotFoundError as error:
            raise self._none(pipeline) from error
        except ValueError as error:
            raise self._damaged(pipeline) from error

    def _none(self, pipeline: str) -> BatchStoreError:
        return BatchStoreError(
            f"there is no plan in {self._url}/plans/{pipeline}: materialize "
            f"{pipeline}/source_documents first"
        )

    def _damaged(self, pipeline: str) -> BatchStoreError:
        return BatchStoreError(
            f"the plan in {self._url}/plans/{pipeline} is damaged: materialize "
            f"{pipeline}/source_documents again"
        )

    def _prune(self, folder: str, finished: Finished) -> None:
        """Remove old plans that no run may still read, and the pins of those that are gone."""
        current = [plan for _, plan, _ in self._named(folder, ["current.json"])]
        pins = list(self._named(f"{folder}/pins", self._files.names(f"{folder}/pins")))

        def read(plan: str) -> bool:
            limit = datetime.now(UTC) - PINNED_FOR
            return any(
                not finished(run) and self._files.modified(pin) > limit
                for pin, named, run in pins
                if named == plan
            )

        self._files.prune(folder, keep=current, spare=read)
        left = self._files.names(folder)
        for pin, plan, _ in pins:
            if plan not in left:
                self._files.remove(pin)

    def _named(self, folder: str, names: list[str]) -> Iterator[tuple[str, str, str]]:
        """Small files that name a plan: path, plan, run."""
        for name in names:
            with suppress(FileNotFoundError, ValueError, KeyError):
                found = self._files.read_json(f"{folder}/{name}")
                yield f"{folder}/{name}", found["plan"], found.get("run", "")


def _name(shard: int | None) -> str:
    """Of a manifest."""
    if shard is None:
        return "plan.json"
    return "shared.json" if shard == SHARED else f"shard-{shard}.json"
