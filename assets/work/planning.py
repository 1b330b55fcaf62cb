"""Decide what a run has to do: compare the chunks of the source with what is there already.

Knows neither Dagster nor MongoDB. What is to be worked on is spooled to a temporary SQLite file,
so that memory is bounded by the window, whatever the size of the corpus and of its records.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, TypeVar

from assets.work.sharing import index_by_shard, share
from resources.core.chunks import Chunk, size_of
from resources.core.errors import SourceError
from resources.core.keys import decode, encode, key
from resources.core.shards import SHARED, shard_of
from resources.core.windows import WINDOW_BYTES, sized_windows, windows
from resources.core.working_file import WorkingFile

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


@dataclass
class Counts:
    """What the comparison found, in chunks.

    Of those that are stored but no longer cut from the source, `deleted` lost their whole document,
    and `outdated` are of documents that are still there. `rechunked` have come out the same from
    another chunker: their lineage is brought up to date. Those `cut` have a vector of only the
    beginning of their text, which the settings do not want any more. Those `held`, whose text is in
    quarantine, are no work of the run, and in no other number but `source`. Those `set_aside` may
    not be stored, since somebody else's document or vector is in their place: they and the
    `duplicate_ids` are in no other number. Those `narrowed` have a vector in a wider space, which
    is cut.
    """

    source: int = 0
    unchanged: int = 0
    new: int = 0
    changed: int = 0
    cut: int = 0
    reformatted: int = 0
    rechunked: int = 0
    refreshed: int = 0
    deleted: int = 0
    outdated: int = 0
    duplicate_ids: int = 0
    set_aside: int = 0
    held: int = 0
    to_embed: int = 0
    reused: int = 0
    narrowed: int = 0
    replaced_spaces: dict[str, int] = field(default_factory=dict)

    def of_source(self) -> dict[str, int]:
        """What became of every chunk of the source, by name: adds up to `source`."""
        names = ("new", "changed", "cut", "reformatted", "rechunked", "refreshed", "held")
        return {name: getattr(self, name) for name in (*names, "unchanged")}

    def add(self, other: "Counts") -> None:
        """Those of another shard as well."""
        for each in dataclasses.fields(self):
            value, more = getattr(self, each.name), getattr(other, each.name)
            if isinstance(more, int):
                setattr(self, each.name, value + more)
        for space, count in other.replaced_spaces.items():
            self.replaced_spaces[space] = self.replaced_spaces.get(space, 0) + count


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
        # What may be long stands last in a row: the rest is read without it.
        self._file = WorkingFile(
            "the plan's",
            """
            CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE seen_source (id TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE work (
                seq INTEGER PRIMARY KEY, shard INTEGER, kind TEXT, why TEXT, batch TEXT,
                size INTEGER, text_hash TEXT, id TEXT, source_id TEXT, fields_hash TEXT, text TEXT,
                fields TEXT
            );
            CREATE TABLE probe (text_hash TEXT)
            """,
        )
        self._db = self._file.db

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
        self._file.__exit__(kind, error, trace)

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
            if name in fresh or not self._remember(name):
                apart.append((chunk, DUPLICATE))
                self.by_shard[self._shard(chunk.source_id)].duplicate_ids += 1
            else:
                fresh[name] = chunk
        if self._chunker:
            sources = {key(chunk.source_id) for chunk in fresh.values()}
            self._db.executemany(
                "INSERT OR IGNORE INTO seen_source VALUES (?)", ((name,) for name in sources)
            )
        states = self._stored([chunk.id for chunk in fresh.values()])
        work: list[tuple[int, str, str, Chunk]] = []
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
                work.append((shard, "vector", "new", chunk))
                continue
            self._matched += 1
            if state.space_id != self._space_id:
                counts.changed += 1
                old = state.space_id
                counts.replaced_spaces[old] = counts.replaced_spaces.get(old, 0) + 1
                work.append((shard, "vector", "changed", chunk))
            elif state.text_hash != chunk.text_hash:
                counts.changed += 1
                work.append((shard, "vector", "changed", chunk))
            elif state.cut and not self._cut_is_fine:
                counts.cut += 1
                work.append((shard, "vector", "cut", chunk))
            elif state.format != self._format:
                counts.reformatted += 1
                work.append((shard, "vector", "reformatted", chunk))
            elif state.chunker != self._chunker:
                counts.rechunked += 1
                work.append((shard, "refresh", "", chunk))
            elif not self._fields_are(state, chunk):
                counts.refreshed += 1
                work.append((shard, "refresh", "", chunk))
            else:
                counts.unchanged += 1
        self._db.executemany(
            "INSERT INTO work "
            "(shard, kind, why, size, text_hash, id, source_id, fields_hash, text, fields) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (shard, kind, why, size_of(chunk), chunk.text_hash, encode(chunk.id),
                 encode(chunk.source_id), chunk.fields_hash, chunk.text, encode(dict(chunk.fields)))
                for shard, kind, why, chunk in work
            ),
        )  # fmt: skip
        return apart

    def _shard(self, source_id: Any) -> int:
        return shard_of(source_id, self._shards)

    def _remember(self, name: str) -> bool:
        cursor = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,))
        return cursor.rowcount == 1

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
            met = self._met("seen", pairs)
            gone = [pair for name, pair in pairs.items() if name not in met]
            sources = {key(source_id) for _, source_id in gone}
            alive = self._met("seen", sources) | self._met("seen_source", sources)
            for _, source_id in gone:
                counts = self.by_shard[self._shard(source_id)]
                if key(source_id) in alive:
                    counts.outdated += 1
                else:
                    counts.deleted += 1
            self._db.executemany(
                "INSERT INTO work "
                "(shard, kind, size, text_hash, id, source_id, fields_hash, text, fields) "
                "VALUES (?2, 'delete', 0, '', ?1, ?1, '', '', '{}')",
                [(encode(chunk_id), self._shard(source_id)) for chunk_id, source_id in gone],
            )

    def _met(self, table: str, keys: Iterable[str]) -> set[str]:
        wanted = list(keys)
        marks = ",".join("?" * len(wanted))
        return {
            row[0] for row in self._read(f"SELECT id FROM {table} WHERE id IN ({marks})", wanted)
        }

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
        self._db.execute("CREATE INDEX work_text ON work (kind, text_hash)")
        # With the row's number behind, as in every index: pages are read in its order.
        self._db.execute("CREATE INDEX work_kind ON work (kind)")
        self._db.execute("CREATE INDEX work_batch ON work (batch) WHERE kind = 'reuse'")
        self._db.execute("CREATE INDEX work_origin ON work (batch) WHERE kind = 'cut'")
        if self._shards > 1:
            index_by_shard(self._db)
        if not self._in_batches("reuse", batches, whole):
            return
        self._mark("copy", known_texts)
        for space, theirs, readable in wider:
            self._in_batches("cut", theirs, readable, f"{space}/")
        if refused_texts:
            self._mark("held", refused_texts)
            self._uncount_held()
        if self._shards > 1:
            share(self._db)
        # Of chunks with one text the first is worked on, the others take its vector.
        self._db.execute(
            "UPDATE work SET kind = 'repeat' WHERE kind IN ('vector', 'copy', 'cut') AND "
            "seq NOT IN (SELECT min(seq) FROM work WHERE kind IN ('vector', 'copy', 'cut') "
            "GROUP BY text_hash)"
        )

    def _in_batches(
        self,
        kind: Literal["reuse", "cut"],
        batches: Iterable[tuple[str, list[str]]],
        whole: Callable[[str], bool],
        before: str = "",
    ) -> int:
        """Give pending chunks whose text is in a batch another kind; how many are left."""
        pending = self._pending()
        for batch, hashes in batches if pending else ():
            self._db.execute("DELETE FROM probe")
            self._db.executemany("INSERT INTO probe VALUES (?)", ((value,) for value in hashes))
            found = "kind = 'vector' AND text_hash IN (SELECT text_hash FROM probe)"
            if not self._read(f"SELECT 1 FROM work WHERE {found} LIMIT 1") or not whole(batch):
                continue
            pending -= self._db.execute(
                f"UPDATE work SET kind = '{kind}', batch = ? WHERE {found}", (before + batch,)
            ).rowcount
            if not pending:
                break
        return pending

    def held(self) -> Iterator[list[Chunk]]:
        """Chunks that are left out, because the provider has refused their text."""
        yield from self._windows("kind = 'held'", (), self._window)

    def _mark(self, kind: str, which: Callable[[str, Sequence[str]], set[str]]) -> None:
        """Give pending chunks whose text is among those found another kind."""
        # A page at a time: rows must not change under an open cursor.
        last = ""
        while page := self._read(
            "SELECT DISTINCT text_hash FROM work WHERE kind = 'vector' AND text_hash > ? "
            "ORDER BY text_hash LIMIT ?",
            (last, self._window),
        ):
            last = page[-1][0]
            found = which(self._space_id, [row[0] for row in page])
            self._db.executemany(
                "UPDATE work SET kind = ? WHERE kind = 'vector' AND text_hash = ?",
                ((kind, value) for value in found),
            )

    def _uncount_held(self) -> None:
        """What stands in quarantine is no work of this run."""
        for shard, why, count in self._read(
            "SELECT shard, why, count(*) FROM work WHERE kind = 'held' GROUP BY 1, 2"
        ):
            counts = self.by_shard[shard]
            setattr(counts, why, getattr(counts, why) - count)
            counts.held += count

    def _pending(self) -> int:
        return self._read("SELECT count(*) FROM work WHERE kind = 'vector'")[0][0]

    def parts(
        self, *, max_chunks: int, max_tokens: int, tokens: Callable[[str], int]
    ) -> Iterator[tuple[int, Part]]:
        """The plan, in the order in which it must be carried out: each part with its shard.

        `copy` comes first: a text's only vector may belong to a chunk that is about to change.
        Chunks that repeat a text of the plan come as `reuse`, after the batch that brings it. What
        shards share comes before them all, and is stored by them.
        """
        for shard in (SHARED, *range(self._shards)) if self._shards > 1 else (0,):
            for part in self._parts(shard, (max_chunks, max_tokens, tokens)):
                yield shard, part

    def _parts(self, shard: int, limits: tuple[int, int, Callable[[str], int]]) -> Iterator[Part]:
        mine = f"shard = {shard} AND " if self._shards > 1 else ""
        yield from self._with_batch("copy", shard, mine, limits)
        for (origin,) in self._read(
            f"SELECT DISTINCT batch FROM work WHERE {mine}kind = 'cut' ORDER BY batch"
        ):
            yield from self._with_batch("cut", shard, mine, limits, origin)
        yield from self._with_batch("embed", shard, mine, limits)
        for batch, *_ in self._read(
            f"SELECT DISTINCT batch FROM work WHERE {mine}kind = 'reuse' ORDER BY batch"
        ):
            which = f"{mine}kind = 'reuse' AND batch = ?"
            for window in self._windows(which, (batch,), limits[0]):
                self.by_shard[shard].reused += len(window)
                yield Part("reuse", window, batch)
        kinds: list[tuple[PartKind, str]] = [
            ("refresh", "kind = 'refresh'"),
            # Of a new chunk nothing is stored.
            ("withdraw", "kind = 'held' AND why <> 'new'"),
            ("delete", "kind = 'delete'"),
        ]
        for kind, which in kinds:
            for window in self._windows(mine + which, (), limits[0]):
                yield Part(kind, window)

    def _windows(self, which: str, values: Sequence[Any], max_chunks: int) -> Iterator[list[Chunk]]:
        rows = self._rows(which, values)
        for window in sized_windows(rows, max_chunks, itemgetter(0), self._max_bytes):
            yield [chunk for _, chunk in window]

    def _with_batch(
        self, kind: Literal["copy", "cut", "embed"], shard: int, mine: str,
        limits: tuple[int, int, Callable[[str], int]], origin: str = "",
    ) -> Iterator[Part]:  # fmt: skip
        """Parts of distinct texts that become one batch each."""
        if origin:
            rows = self._rows(f"{mine}kind = 'cut' AND batch = ?", (origin,))
        else:
            rows = self._rows(f"{mine}kind = ?", ("copy" if kind == "copy" else "vector",))
        for window in _windows_of_tokens(rows, *limits, self._max_bytes):
            chunks = [chunk for _, chunk in window]
            batch = batch_id(self._space_id, [chunk.text_hash for chunk in chunks])
            self._count(kind, shard, chunks)
            self._db.executemany(
                "UPDATE work SET kind = 'reuse', batch = ? WHERE kind = 'repeat' AND text_hash = ?",
                ((batch, chunk.text_hash) for chunk in chunks),
            )
            yield Part(kind, chunks, batch, origin)

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

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(sql, values).fetchall()

    def _rows(self, where: str, values: Sequence[Any]) -> Iterator[tuple[int, Chunk]]:
        """Work rows in order, each with its size.

        A page at a time, since others may change while it is read: of as many as their sizes allow.
        """
        last = -1
        while ahead := self._read(
            f"SELECT size, seq FROM work WHERE {where} AND seq > ? ORDER BY seq LIMIT ?",
            (*values, last, self._window),
        ):
            for page in sized_windows(ahead, self._window, itemgetter(0), self._max_bytes):
                first, last = page[0][1], page[-1][1]
                for size, chunk_id, source_id, text, text_hash, fields, fields_hash in self._read(
                    "SELECT size, id, source_id, text, text_hash, fields, fields_hash FROM work "
                    f"WHERE {where} AND seq BETWEEN ? AND ? ORDER BY seq",
                    (*values, first, last),
                ):
                    yield size, Chunk(
                        decode(chunk_id), decode(source_id), text, text_hash, decode(fields),
                        fields_hash,
                    )  # fmt: skip


def batch_id(space_id: str, text_hashes: Sequence[str]) -> str:
    """The name of the batch that holds exactly these texts in this space, in this order."""
    return hashlib.sha256("\n".join([space_id, *text_hashes]).encode()).hexdigest()[:16]


def _windows_of_tokens(
    rows: Iterable[tuple[int, Chunk]], max_chunks: int, max_tokens: int,
    tokens: Callable[[str], int], max_bytes: int,
) -> Iterator[list[tuple[int, Chunk]]]:  # fmt: skip
    window: list[tuple[int, Chunk]] = []
    size = held = 0
    for row in rows:
        cost = tokens(row[1].text)
        full = len(window) == max_chunks or size + cost > max_tokens or held + row[0] > max_bytes
        if window and full:
            yield window
            window, size, held = [], 0, 0
        window.append(row)
        size += cost
        held += row[0]
    if window:
        yield window


def _too_many(deleted: int, stored: int, fraction: float, *, since: bool = False) -> SourceError:
    when = ", counted since it was last read to its end" if since else ""
    return SourceError(
        f"{deleted:,} of {stored:,} stored chunks are not in the source any more{when}, which is "
        f"over {fraction:.0%}: nothing is deleted or embedded; if they are really gone, run once "
        "with `vector_store: {config: {allow_delete: true}}`"
    )
