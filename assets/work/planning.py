"""Decide what a run has to do: compare the chunks of the source with what is there already.

Knows neither Dagster nor MongoDB.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, TypeVar

from assets.work.counts import Counts
from assets.work.worklist import Limits, Todo, Worklist
from resources.core.chunks import Chunk, size_of
from resources.core.errors import SourceError
from resources.core.keys import key
from resources.core.shards import SHARED, shard_of
from resources.core.windows import WINDOW_BYTES, sized_windows, windows

WINDOW = 2_000
"""Chunks compared with the store by one command."""

DUPLICATE = "another record of the source has the same id; the first one counts"

PartKind = Literal["copy", "cut", "embed", "reuse", "refresh", "withdraw", "delete"]
MADE: tuple[PartKind, ...] = ("copy", "cut", "embed")
"""Of each part a batch is written."""
STORED: tuple[PartKind, ...] = (*MADE, "reuse")
"""The vectors of each part are written to the store."""


class State(Protocol):
    """What the store knows of a chunk."""

    @property
    def space_id(self) -> str | None: ...
    @property
    def text_hash(self) -> str | None: ...
    @property
    def fields_hash(self) -> str | None: ...
    @property
    def format(self) -> str | None: ...
    @property
    def chunker(self) -> str | None: ...
    @property
    def cut(self) -> bool: ...


S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Part:
    """A piece of the plan that is done as one.

    Attributes:
        kind: `embed`: texts for the provider. `copy`: texts whose vector stands elsewhere in the
            store. `cut`: texts whose vector lies in a batch of a wider space, and has only to be
            cut. `reuse`: texts whose vector lies in a batch. `refresh`: only carried fields
            changed. `withdraw`: its text is in quarantine, and what is stored is of another text or
            space, or of a part of it. `delete`: the source no longer has it.
        chunks: What it covers; for `delete` only the ids count.
        batch: The embedding batch that holds the vectors, or will.
        origin: Of a `cut`: space and name of the batch with the wider vectors.
    """

    kind: PartKind
    chunks: list[Chunk]
    batch: str = ""
    origin: str = ""


class Planner(Generic[S]):
    """Collects chunks window by window, then hands out the parts of the plan.

    Args:
        space: Id of the space that every vector shall be in.
        stored: Looks up the state of chunks, by key.
        format: Name of the way in which every vector shall be stored.
        window: Chunks per look-up.
        max_bytes: Of the chunks of a look-up, and of a part; a larger chunk goes alone.
        chunker: Name of the way in which documents are cut, with its settings.
        why_not: Says why a chunk may not be stored where something is already.
        cut_is_fine: A vector of only the beginning of a text will do.
        fields_are: Whether what a stored chunk carries is as it should be.
        shards: In how many what is to be done is divided, by the source document of each chunk.

    Attributes:
        by_shard: What was found, of each shard.
    """

    def __init__(
        self,
        space_id: str,
        stored: Callable[[Sequence[Any]], Mapping[str, S]],
        window: int = WINDOW,
        *,
        format: str = "float32",  # noqa: A002
        chunker: str | None = None,
        why_not: Callable[[Chunk, S], str] = lambda chunk, state: "",
        max_bytes: int = WINDOW_BYTES,
        cut_is_fine: bool = False,
        fields_are: Callable[[S, Chunk], bool] = lambda state, chunk: (
            (state.fields_hash or "") == chunk.fields_hash
        ),
        shards: int = 1,
    ) -> None:
        self.by_shard = [Counts() for _ in range(shards)]
        self._shards = shards
        self._space_id = space_id
        self._stored = stored
        self._format = format
        self._chunker = chunker
        self._why_not = why_not
        self._cut_is_fine = cut_is_fine
        self._fields_are = fields_are
        self._window = window
        self._max_bytes = max_bytes
        self._matched = 0
        self._work = Worklist(shards, window, max_bytes)

    @property
    def counts(self) -> Counts:
        """What was found of all; of a single shard its own, which go on counting."""
        if self._shards == 1:
            return self.by_shard[0]
        whole = Counts()
        for counts in self.by_shard:
            whole.add(counts)
        return whole

    def __enter__(self) -> "Planner":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._work.__exit__(kind, error, trace)

    def add(self, chunks: Iterable[Chunk]) -> Iterator[list[tuple[Chunk, str]]]:
        """Compare chunks with the store.

        Yields:
            After every window, those that cannot be stored, each with the reason.
        """
        for window in sized_windows(chunks, self._window, size_of, self._max_bytes):
            yield self._compare(window)

    def _compare(self, window: list[Chunk]) -> list[tuple[Chunk, str]]:
        fresh: dict[str, Chunk] = {}
        apart: list[tuple[Chunk, str]] = []
        for chunk in window:
            name = key(chunk.id)
            if name in fresh or not self._work.remember(name):
                apart.append((chunk, DUPLICATE))
                self.by_shard[self._shard(chunk.source_id)].duplicate_ids += 1
            else:
                fresh[name] = chunk
        if self._chunker:
            self._work.remember_sources({key(chunk.source_id) for chunk in fresh.values()})
        states = self._stored([chunk.id for chunk in fresh.values()])
        todo: list[Todo] = []
        for name, chunk in fresh.items():
            state, shard = states.get(name), self._shard(chunk.source_id)
            counts = self.by_shard[shard]
            if state is not None and (reason := self._why_not(chunk, state)):
                counts.set_aside += 1
                apart.append((chunk, reason))
                continue
            counts.source += 1
            if state is None or state.space_id is None:
                counts.new += 1
                todo.append((shard, "vector", "new", chunk))
                continue
            self._matched += 1
            if state.space_id != self._space_id:
                counts.changed += 1
                old = state.space_id
                counts.replaced_spaces[old] = counts.replaced_spaces.get(old, 0) + 1
                todo.append((shard, "vector", "changed", chunk))
            elif state.text_hash != chunk.text_hash:
                counts.changed += 1
                todo.append((shard, "vector", "changed", chunk))
            elif state.cut and not self._cut_is_fine:
                counts.cut += 1
                todo.append((shard, "vector", "cut", chunk))
            elif state.format != self._format:
                counts.reformatted += 1
                todo.append((shard, "vector", "reformatted", chunk))
            elif state.chunker != self._chunker:
                counts.rechunked += 1
                todo.append((shard, "refresh", "", chunk))
            elif not self._fields_are(state, chunk):
                counts.refreshed += 1
                todo.append((shard, "refresh", "", chunk))
            else:
                counts.unchanged += 1
        self._work.add(todo)
        return apart

    def _shard(self, source_id: Any) -> int:
        return shard_of(source_id, self._shards)

    def vanished(
        self,
        stored_ids: Callable[[], Iterable[tuple[Any, Any]]],
        stored_count: int,
        *,
        max_fraction: float,
    ) -> None:
        """Plan the deletion of stored chunks that the source no longer has.

        Args:
            stored_ids: Every stored chunk's id and its source document's.
            stored_count: How many there are.
            max_fraction: How many may go because their whole document vanished.

        Raises:
            SourceError: More than `max_fraction` of the stored chunks would go.
        """
        # Every stored chunk was met in the source: no need to read all ids.
        if self._matched >= stored_count:
            return
        self._plan_deletions(stored_ids())
        deleted = self.counts.deleted  # of the whole, before any shard deletes
        if deleted > max_fraction * stored_count:
            raise _too_many(deleted, stored_count, max_fraction)

    def vanished_of(
        self,
        stored_ids: Iterable[tuple[Any, Any]],
        stored_count: Callable[[], int],
        *,
        deleted_before: int,
        max_fraction: float,
    ) -> None:
        """As `vanished`, where only some documents of the source were read.

        Args:
            stored_ids: Every stored chunk's id and its source document's, of those documents.
            stored_count: Tells how many chunks are stored; asked only where some are gone.
            deleted_before: How many have gone since the whole source was compared: many small
                steps may not come to what one may not.
            max_fraction: As of `vanished`.

        Raises:
            SourceError: As `vanished`.
        """
        self._plan_deletions(stored_ids)
        if not self.counts.deleted:
            return
        deleted, stored = self.counts.deleted + deleted_before, stored_count() + deleted_before
        if deleted > max_fraction * stored:
            raise _too_many(deleted, stored, max_fraction, since=bool(deleted_before))

    def _plan_deletions(self, stored_ids: Iterable[tuple[Any, Any]]) -> None:
        for window in windows(stored_ids, self._window):
            pairs = {key(chunk_id): (chunk_id, source_id) for chunk_id, source_id in window}
            met = self._work.met(pairs)
            gone = [pair for name, pair in pairs.items() if name not in met]
            alive = self._work.met_sources({key(source_id) for _, source_id in gone})
            for _, source_id in gone:
                counts = self.by_shard[self._shard(source_id)]
                if key(source_id) in alive:
                    counts.outdated += 1
                else:
                    counts.deleted += 1
            self._work.add_deletions(
                (self._shard(source_id), chunk_id) for chunk_id, source_id in gone
            )

    def resolve(
        self,
        known_texts: Callable[[str, Sequence[str]], set[str]],
        batches: Iterable[tuple[str, list[str]]],
        refused_texts: Callable[[str, Sequence[str]], set[str]] | None = None,
        whole: Callable[[str], bool] = lambda batch: True,
        wider: Iterable[tuple[str, Iterable[tuple[str, list[str]]], Callable[[str], bool]]] = (),
    ) -> None:
        """Find the texts that have a vector already: in batches, else elsewhere in the store.

        Args:
            known_texts: Which of the given hashes the store has a vector of, in a given space.
            batches: Every existing batch of the space with the hashes of its texts; only asked
                for if something is to be embedded.
            whole: Whether a batch can be read to its end; asked of those that would be used.
            refused_texts: Which of the given hashes stand in quarantine for a given space.
            wider: Spaces whose vectors have only to be cut: the id of each, with its batches and
                which of them can be read to their end.
        """
        self._work.index()
        if not self._work.found_in("reuse", batches, whole):
            return
        self._work.mark("copy", partial(known_texts, self._space_id))
        for space, theirs, readable in wider:
            self._work.found_in("cut", theirs, readable, f"{space}/")
        if refused_texts:
            self._work.mark("held", partial(refused_texts, self._space_id))
            self._uncount_held()
        self._work.once()

    def held(self) -> Iterator[list[Chunk]]:
        """Chunks that are left out, because the provider has refused their text."""
        yield from self._work.windows("held", self._window)

    def _uncount_held(self) -> None:
        """What stands in quarantine is no work of this run."""
        for shard, why, count in self._work.count_held():
            counts = self.by_shard[shard]
            setattr(counts, why, getattr(counts, why) - count)
            counts.held += count

    def parts(
        self, *, max_chunks: int, max_tokens: int, tokens: Callable[[str], int]
    ) -> Iterator[tuple[int, Part]]:
        """The plan, in the order in which it must be carried out: each part with its shard.

        `copy` comes first: a text's only vector may belong to a chunk that is about to change.
        Chunks that repeat a text of the plan come as `reuse`, after the batch that brings it. What
        shards share comes before them all, and is stored by them.
        """
        limits = Limits(max_chunks, max_tokens, tokens)
        for shard in (SHARED, *range(self._shards)) if self._shards > 1 else (0,):
            for part in self._parts(shard, limits):
                yield shard, part

    def _parts(self, shard: int, limits: Limits) -> Iterator[Part]:
        work, most = self._work, limits.max_chunks
        for window in work.windows_of_tokens("copy", limits, shard):
            yield self._with_batch("copy", shard, window)
        for origin in work.batches("cut", shard):
            for window in work.windows_of_tokens("cut", limits, shard, origin):
                yield self._with_batch("cut", shard, window, origin)
        for window in work.windows_of_tokens("vector", limits, shard):
            yield self._with_batch("embed", shard, window)
        for batch in work.batches("reuse", shard):
            for window in work.windows("reuse", most, shard, batch):
                self.by_shard[shard].reused += len(window)
                yield Part("reuse", window, batch)
        for window in work.windows("refresh", most, shard):
            yield Part("refresh", window)
        for window in work.windows("held", most, shard, stored=True):
            yield Part("withdraw", window)
        for window in work.windows("delete", most, shard):
            yield Part("delete", window)

    def _with_batch(
        self,
        kind: Literal["copy", "cut", "embed"],
        shard: int,
        chunks: list[Chunk],
        origin: str = "",
    ) -> Part:
        """A part of distinct texts that becomes one batch."""
        hashes = [chunk.text_hash for chunk in chunks]
        batch = batch_id(self._space_id, hashes)
        self._count(kind, shard, chunks)
        self._work.brought(batch, hashes)
        return Part(kind, chunks, batch, origin)

    def _count(self, kind: PartKind, shard: int, chunks: Sequence[Chunk]) -> None:
        name = {"copy": "reused", "cut": "narrowed", "embed": "to_embed"}[kind]
        if shard != SHARED:
            counts = self.by_shard[shard]
            setattr(counts, name, getattr(counts, name) + len(chunks))
            return
        for chunk in chunks:  # of its shard, where it comes up again among those that are reused
            counts = self.by_shard[self._shard(chunk.source_id)]
            setattr(counts, name, getattr(counts, name) + 1)
            counts.reused -= 1


def batch_id(space_id: str, text_hashes: Sequence[str]) -> str:
    """The name of the batch that holds exactly these texts in this space, in this order."""
    return hashlib.sha256("\n".join([space_id, *text_hashes]).encode()).hexdigest()[:16]


def _too_many(deleted: int, stored: int, fraction: float, *, since: bool = False) -> SourceError:
    when = ", counted since it was last read to its end" if since else ""
    return SourceError(
        f"{deleted:,} of {stored:,} stored chunks are not in the source any more{when}, which is "
        f"over {fraction:.0%}: nothing is deleted or embedded; if they are really gone, run once "
        "with `vector_store: {config: {allow_delete: true}}`"
    )
