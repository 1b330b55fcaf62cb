"""A pipeline, opened: in whichever of its spaces, each part once and only when it is asked for."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from assets.work import preflight
from assets.work.configured import RESOURCES
from assets.work.lanes import Lanes, adopted, lanes
from assets.work.parts import Parts
from resources.core.chunks import Chunk
from resources.core.errors import ConfigurationError
from resources.core.once import once
from resources.core.shards import SHARED
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey, placed
from resources.core.vectors import VectorFormat
from resources.core.written import as_written, block
from resources.embedders import members
from resources.embedders.resource import EmbedderResource
from resources.registry.indexes import IndexEntry
from resources.registry.pipeline_spaces import PipelineRecord, SpaceEntry
from resources.sources.resource import SourceResource


class Opened(Parts):
    """What everything that is done with a pipeline goes through, in one of its spaces.

    Made from a pipeline's settings it is that pipeline as they have it, whatever serves; from there
    one goes on to the space that is wanted: see `main`, `candidate`, `serving`, `in_space`.
    """

    opened_from: "Opened | None" = None

    @property
    def settings(self) -> "Opened":
        """The pipeline as its settings have it."""
        return self.opened_from or self

    def again(self) -> "Opened":
        """The same, for what the deployment says now: its settings and the client are kept."""
        renewed = self._copy({*RESOURCES, "reranker", "client", "batches"})
        renewed.place = self.place
        if self.opened_from is not None:
            renewed.opened_from = self.opened_from.again()
        return renewed

    def _copy(self, keep: set[str]) -> "Opened":
        made = Opened(
            self.name,
            self._resource,
            self._stack,
            run=self.run,
            log=self.log,
            warn=self.warn,
            finished=self.finished,
            given=self.given,
        )
        vars(made).update({name: vars(self)[name] for name in keep & vars(self).keys()})
        made.shards, made.shard = self.shards, self.shard
        return made

    @once
    def shared(self) -> "Opened":
        """The same, at work on what its shards share: that has a plan and a lease of its own."""
        made = self._copy(vars(self).keys() - {"plan", "lease", "holds"})
        made.shard = SHARED
        return made

    @once
    def embedder(self) -> EmbedderResource:
        """The chosen one; in a space of its own where another of its family is embedded anew."""
        chosen: EmbedderResource = self._resource("embedder")
        if not self.model_change.re_embed or not members.family(chosen):
            return chosen
        own = members.of_its_own(chosen)
        begun = self.record.entry(own.space().id)
        serving = self.record.entry(self.record.serving)
        if begun is not None and not begun.retired:
            return own
        if serving is None or serving.space_id != chosen.space().id:
            return chosen
        made = set(serving.models)
        if not made and serving.embedder is not None:
            made = {str(next(iter(serving.embedder.values())).get("model"))}
        return own if made - {chosen.facts().model} else chosen

    def members(self) -> str:
        """`documents by voyage-4-large, queries by voyage-4-lite`; empty where it is one model."""
        entry = self.record.entry(self.space.id)
        if entry is None or not members.family(self.embedder):
            return ""
        return members.described(entry.models, self.embedder.facts().model)

    # --- its spaces

    @property
    def base_key(self) -> StoreKey:
        """Where the pipeline's first space lies: what its spaces are known by."""
        return self.settings.vector_store.key(self.settings.source)

    @once
    def record(self) -> PipelineRecord:
        """The spaces that the pipeline has, and which of them serves."""
        if self.settings is not self:
            return self.settings.record
        store, registry = self.base_key, self.registry
        found = registry.of_pipelines.get(self.name, store)
        if found.version or self._anothers(store):
            return found
        name = store.index(self.search_index.name)
        found = adopted(found, registry.stores.get(store), registry.indexes.get(name))
        told = {entry.space_id: self._told(entry) for entry in found.entries()}
        return replace(found, spaces=told) if told else found

    def _anothers(self, store: StoreKey) -> bool:
        """Whether another pipeline has noted what lies in a store as its own."""
        records = self.registry.of_pipelines.all()
        return any(each.store == store and each.pipeline != self.name for each in records)

    @once
    def lanes(self) -> Lanes:
        """What a run works on."""
        if self.settings is not self:
            return self.settings.lanes
        serving = self.record.entry(self.record.serving)
        known = self._known_as(serving.place if serving else "", self.embedder_space)
        return lanes(self.record, known, self.model_change)

    def check_lanes(self) -> None:
        """Refuse to work on spaces that stand in each other's way.

        Raises:
            ConfigurationError: They do.
        """
        if self.settings.lanes.refused:
            raise ConfigurationError(self.settings.lanes.refused)

    @once
    def main(self) -> "Opened":
        """In the space that serves, or is to: what a run keeps up to date first."""
        if self.settings is not self:
            return self.settings.main
        entry = self.lanes.main
        return self.in_space(entry) if entry else self.at(self.lanes.place)

    @once
    def candidate(self) -> "Opened | None":
        """In the space that the settings want beside the one that serves; None: they want that."""
        if self.settings is not self:
            return self.settings.candidate
        if self.lanes.candidate is None:
            return None
        found = self.at(self.lanes.candidate)
        if self.shards > 1:
            # It is built in one step; when it serves, it is divided like any other.
            found = found if found is not self else self._in_place()
            found.shards, found.shard = 1, None
        return found

    def _in_place(self) -> "Opened":
        made = self._copy({*RESOURCES, "reranker", "client", "batches", "registry"})
        made.opened_from = self
        return made

    @property
    def left_alone(self) -> str:
        """Why runs do nothing in this space, which serves, while another is built beside it."""
        settings = self.settings
        lane = settings.lanes
        if lane.candidate is None or self.place != lane.place:
            return ""
        if not settings.model_change.keep_serving:
            return "`keep_serving: false`"
        if lane.main is not None and lane.main.embedder is None:
            return (
                f"how to embed in {lane.main.space_id} is not written down: a run with the "
                "settings that it was made with writes it down"
            )
        return ""

    @once
    def kept(self) -> "Opened":
        """`main`; where that is left as it is, only its place: its provider may be gone."""
        if self.settings is not self:
            return self.settings.kept
        there = self.at(self.lanes.place)
        return there if there.left_alone else self.main

    @once
    def serving(self) -> "Opened":
        """In the space that searches go by; before the first is complete, in the one wanted."""
        if self.settings is not self:
            return self.settings.serving
        entry = self.record.entry(self.record.serving)
        return self.in_space(self._indexed(entry)) if entry else self.main

    def _indexed(self, serving: SpaceEntry) -> SpaceEntry:
        """The one that has replaced it, where its index is the other's already."""
        place = serving.place
        store = StoreKey(**{**vars(self.base_key), "path": serving.path(self.base_key.path)})
        made = self.registry.indexes.get(store.index(placed(self.search_index.name, place)))
        other = self.record.entry(made.space_id) if made else None
        if other is None or other.place != place or other.retired:
            return serving
        return other

    @once
    def apart(self) -> str:
        """What ids of chunks end in, in a space whose chunks are documents of their own.

        Else a text that is a chunk of two chunkers would be one document, with the place that
        either gives it.
        """
        if not self.place or not self.source.chunking.describe():
            return ""
        entry, lane = self.record.entry(self.space.id), self.settings.lanes
        apart = entry is not None and entry.place == self.place and entry.apart
        if not apart and self.place == lane.candidate:
            theirs = self.main.source.chunking.describe()
            apart = theirs not in (None, "", self.source.chunking.describe())
        return f"@{self.place}" if apart else ""

    def as_its_own(self, chunk: Chunk) -> Chunk:
        """With an id of this space's own, where it needs one."""
        return replace(chunk, id=f"{chunk.id}{self.apart}") if self.apart else chunk

    @property
    def beside(self) -> str | None:
        """Path of the space that serves, where this one lies beside it in the same documents."""
        serving = self.record.entry(self.record.serving)
        if serving is None or serving.place == self.place:
            return None
        return serving.path(self.base_key.path)

    @property
    def replacing(self) -> str | None:
        """Id of a space that was begun where this one serves, to replace its vectors."""
        entry = self.record.entry(self.space.id)
        if entry is None or self.record.serving != entry.space_id:
            return None
        return next(iter(self.record.others_at(entry)), None)

    def in_space(self, entry: SpaceEntry) -> "Opened":
        """In one of the pipeline's spaces: as the settings have it, where it is theirs.

        Raises:
            ConfigurationError: How to embed there is not known, or by nothing that is installed.
        """
        if self.settings is not self:
            return self.settings.in_space(entry)
        if self.embeds(entry):
            return self.at(entry.place)
        if entry.embedder is None:
            raise ConfigurationError(
                f"how texts are embedded in {entry.space_id}, a space of {self.name}, was not "
                "noted when it was made: run the pipeline once with the embedder that made it, "
                "then with this one (or give it up, by `model_change: {mode: replace}`)"
            )
        # How much a run may spend is the run's.
        found: dict[str, Any] = {
            "embedder": self.embedder.model_copy(
                update={"provider": block(EmbedderResource, "provider", entry.embedder)}
            )
        }
        if entry.chunking is not None:
            chunking = block(SourceResource, "chunking", entry.chunking)
            found["source"] = self.source.model_copy(update={"chunking": chunking})
        return self.at(entry.place, found)

    def embeds(self, entry: SpaceEntry) -> bool:
        """Whether the embedder of the settings is of that space."""
        if self.settings is not self:
            return self.settings.embeds(entry)
        return entry.space_id in self._known_as(entry.place, self.embedder_space)

    def lying(self, entry: SpaceEntry) -> "Opened":
        """In one of the pipeline's spaces as it lies there: nothing here asks a model.

        So it can be had where the model is gone, or a variable of its provider is not set.

        Raises:
            ConfigurationError: As `in_space`, where the registry does not know what the id means.
        """
        if self.settings is not self:
            return self.settings.lying(entry)
        space = self.registry.spaces.get(entry.space_id)
        if space is None:
            return self.in_space(entry)
        found: dict[str, Any] = {"space": space, "embedder_space": space}
        if entry.chunking is not None:
            chunking = block(SourceResource, "chunking", entry.chunking)
            found["source"] = self.source.model_copy(update={"chunking": chunking})
        return self.at(entry.place, found)

    def _told(self, entry: SpaceEntry) -> SpaceEntry:
        """A space from before it was noted how it is embedded, with that: where it is what the
        pipeline's own files say, whatever is wanted now.
        """
        with suppress(ValidationError, ConfigurationError):  # they choose no provider of their own
            makers: list[type[Any]] = [type(self.embedder), type(self.source)]
            embedder, source = (make() for make in makers)
            how = {
                "embedder": as_written(embedder, {})["provider"],
                "chunking": as_written(source, {})["chunking"],
            }
            space = block(EmbedderResource, "provider", how["embedder"]).space()
            if entry.space_id in self._known_as(entry.place, space):
                return replace(entry, **how)
        return entry

    def written(self) -> dict[str, Any]:
        """How its space is embedded and cut, as `SpaceEntry` keeps it."""
        embedder, source = self.settings.embedder, self.settings.source
        given = self.settings.given
        return {
            "embedder": as_written(embedder, given("embedder"))["provider"],
            "chunking": as_written(source, given("source"))["chunking"],
        }

    def _known_as(self, place: str, space: EmbeddingSpace) -> set[str]:
        """Ids by which a space, as an embedder names it, may be known at a place."""
        if not space.endpoint:
            return {space.id}
        key = StoreKey(*self.vector_store.namespace(self.source), placed(self.base_key.path, place))
        return {space.id, self.registry.stores.settled_space(space, key).id}

    def at(self, place: str, resources: Mapping[str, Any] | None = None) -> "Opened":
        """The same at a place, with other settings of some resources.

        Without them with the settings' own embedder: for who only looks at what lies there.
        """
        if not place and not resources:
            return self
        store, index = self.vector_store, self.search_index
        there = {
            "vector_store": store.model_copy(update={"path": placed(store.path, place)}),
            "search_index": index.model_copy(update={"name": placed(index.name, place)}),
        }
        return self._with(self, place, {**there, **(resources or {})})

    def _with(
        self, opened_from: "Opened | None", place: str, resources: Mapping[str, Any]
    ) -> "Opened":
        """Another over the same deployment, with these instead of its own settings."""
        made = self._copy({*RESOURCES, "reranker", "client", "batches", "registry"})
        made.opened_from, made.place = opened_from, place
        vars(made).update(resources)
        return made

    def as_indexed(self, made: IndexEntry) -> "Opened":
        """The same over vectors as an index was built from them, whatever the settings would have
        the next run make of them.
        """
        if made.stored_as is None or made.similarity is None:
            return self
        found = VectorFormat.parse(self.space.element, made.stored_as)
        kept = {"dtype": found.dtype, "rescore": found.rescore or "none", "layout": found.layout}
        by = {"similarity": made.similarity}
        indexed = {
            "vector_store": self.vector_store.model_copy(update=kept),
            "search_index": self.search_index.model_copy(update=by),
        }
        return self._with(self.opened_from, self.place, indexed)

    def check(self) -> None:
        """The pre-flight: refuse what would stop a run, before it reads or spends anything."""
        self.check_settings()
        self.check_lanes()
        self._check_beside()
        self.batches.check_writable()
        preflight.check_deployment(
            self.client,
            source=self.source,
            store=self.store,
            search_index=self.search_index,
            registry=self.registry,
            space=self.space,
        )

    def _check_beside(self) -> None:
        """Refuse a second vector in documents whose reader would take it for metadata."""
        layout = self.vector_store.layout
        if layout == "plain" or self.settings.lanes.candidate is None:
            return
        wanted = self.settings.embedder_space
        raise ConfigurationError(
            f"the settings of {self.name} ask for the space {wanted.id}, and {self.record.serving} "
            f"serves: the reader of `layout: {layout}` would take a second vector in its documents "
            "for metadata, so that none can be built beside; replace the vectors with "
            "`model_change: {mode: replace}`, or name another `collection` in vector_store"
        )
