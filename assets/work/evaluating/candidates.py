"""The pipeline as it stands, and what is compared with it."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from assets.work.evaluating.variants import (
    Variant,
    compared_by,
    parse_format,
    short,
)
from assets.work.evaluating.vectors import space_of
from assets.work.opened import Opened
from assets.work.searching.finding import Reranking
from resources.core.errors import ConfigurationError
from resources.core.once import once
from resources.core.space import EmbeddingSpace
from resources.core.vectors import VectorFormat, check_dimensions
from resources.embedders.facts import Facts
from resources.models import cutting
from resources.search_index.declaration import TextDeclaration
from resources.search_index.query import Mode
from resources.sources.text import TextField, TextTemplate

BASELINE = "as it stands"
MOST_DAYS = 36_500


@dataclass(frozen=True)
class Asked:
    """What is to be compared.

    Attributes:
        size: Of the sample, in source documents.
        dimensions: Widths beside each candidate's own.
        formats: Likewise, see `variants.FORMATS`.
        modes: Likewise.
        rerank: With every candidate's reranker, or without; None: both, where it has one.
        max_cost_usd: That all of it may cost, besides what the candidates' embedders allow.
        keep_days: How long the batches are held.
        worse: So many of the queries that got worse are kept with what they find.
        landscape: Where the vectors of the first candidate lie is looked at too.

    Raises:
        ConfigurationError: A number that cannot be.
    """

    size: int = 2_000
    dimensions: Sequence[int] = ()
    formats: Sequence[str] = ()
    modes: Sequence[Mode] = ()
    rerank: bool | None = None
    max_cost_usd: float | None = None
    keep_days: float = 30
    worse: int = 10
    landscape: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigurationError(f"a sample has one document at least, not {self.size}")
        if not 0 <= self.keep_days <= MOST_DAYS:
            raise ConfigurationError(
                f"batches are held for 0 to {MOST_DAYS:,} days, not {self.keep_days}"
            )
        if self.max_cost_usd is not None and math.isnan(self.max_cost_usd):
            raise ConfigurationError("`max_cost_usd` is no number: write dollars, such as 0.5")


class Candidate:
    """A pipeline with some files on top, opened.

    Attributes:
        name: For people: the files, or `BASELINE`.
        files: On top of the pipeline's own.
        planned: What is known of its embedder as it is configured; a run would pay by it.
        reranker: As it is configured.

    Raises:
        EmbeddingsError: Its settings cannot be used.
    """

    def __init__(self, name: str, files: Sequence[str], o: Opened) -> None:
        self.name, self.files, self.o = name, files, o
        self.planned: Facts = o.embedder.facts()
        self.reranker = o.reranker
        _in_real_time(o)
        o.search_index.check(self.space, self.format.dtype, o.vector_store.path)

    @once
    def space(self) -> EmbeddingSpace:
        return space_of(self.o)

    @once
    def format(self) -> VectorFormat:
        return self.o.vector_store.format(self.space)

    @once
    def reranking(self) -> Reranking:
        """What reads again what was found; closed with everything else that was opened.

        Raises:
            EmbeddingsError: It cannot.
        """
        # The sample's texts lie in no collection, which some rerankers read them from.
        reranker = self.o.open_reranker(stored=False)
        assert reranker is not None
        reranker.prepare()
        return Reranking(reranker, self.reranker.candidates)

    @property
    def text(self) -> TextField | TextTemplate:
        return self.o.source.text_shape()

    @property
    def words(self) -> TextDeclaration:
        """Which words are searched; as by default where the pipeline declares none."""
        return self.o.search_index.text or TextDeclaration()

    @property
    def carried(self) -> list[str]:
        """Fields that filters and text searches look at."""
        more: Sequence[str] = ()
        if self.o.vector_store.in_place:
            more = [*self.o.search_index.filter_fields, *self.words.fields]
        return [*self.o.source.carry, *more]

    def check_source(self, first: "Candidate") -> None:
        """Refuse another source: all see the same documents.

        Raises:
            ConfigurationError: It is another.
        """
        mine, theirs = self.o.source, first.o.source
        same = {
            "origin": mine.origin.model_dump() == theirs.origin.model_dump(),
            "id_field": mine.id_field == theirs.id_field,
            "limit": mine.limit == theirs.limit,
        }
        for name, alike in same.items():
            if not alike:
                raise ConfigurationError(
                    f"candidate {self.name} changes `source.{name}`, but all candidates see the "
                    "same documents: leave it as the pipeline has it"
                )

    def variants(self, asked: Asked) -> tuple[list[Variant], list[str]]:
        """Its own first, then what was asked for besides; and why some of that cannot be had."""
        space, similarity = self.space, self.o.search_index.similarity
        own = Variant(space.dimensions, self.format, similarity, self.o.evaluation.mode)
        notes: list[str] = []
        widths = [space.dimensions]
        for width in dict.fromkeys(asked.dimensions):
            if width == space.dimensions:
                continue
            if why := cutting.why_not(space, self.planned.model, width):
                notes.append(f"{self.name}: no row of {width} dimensions, {why}")
            else:
                widths.append(width)
        formats = [self.format]
        for name in dict.fromkeys(asked.formats):
            found = parse_format(space, name)
            if found is None:
                notes.append(f"{self.name}: no row of {name}, its model returns {space.element}")
            elif short(found) not in map(short, formats):
                formats.append(found)
        found = [own]
        for width in widths:
            for stored in formats:
                try:
                    check_dimensions(width, stored.dtype, "none")
                except ConfigurationError as error:
                    notes.append(f"{self.name}: no row of {width} dimensions, {error}")
                    continue
                found.append(Variant(width, stored, compared_by(stored, similarity), "vector"))
        if own.mode != "vector" and not (asked.dimensions or asked.formats):
            found = [own]
        for mode in dict.fromkeys(asked.modes):
            found.append(dataclasses.replace(own, mode=mode))
        found = [_of_words(each) if each.mode == "text" else each for each in found]
        return list(dict.fromkeys(self._read_again(found, asked))), notes

    def _read_again(self, variants: Sequence[Variant], asked: Asked) -> list[Variant]:
        """The first with and without the reranker, if there is one; as it stands goes first."""
        own, rest = variants[0], list(variants[1:])
        if not self.reranker.chosen or asked.rerank is False:
            if asked.rerank and not self.reranker.chosen and not self.files:
                raise ConfigurationError(
                    f"pipeline {self.o.name} has no reranker: give one, such as "
                    "`-c rerank/voyage.yaml`, or leave out `--rerank`"
                )
            return [own, *rest]
        read = dataclasses.replace(own, reranked=True)
        if asked.rerank:
            return [read, *rest]
        both = [read, own] if self.o.evaluation.rerank else [own, read]
        return [*both, *rest]


def _of_words(variant: Variant) -> Variant:
    return dataclasses.replace(variant, dimensions=0, format=None)


def _in_real_time(o: Opened) -> None:
    """Batch jobs would take up to a day, and a run of the pipeline would collect them."""
    provider = o.embedder.provider
    if getattr(provider, "mode", "realtime") != "realtime":
        changed = provider.model_copy(update={"mode": "realtime"})
        vars(o)["embedder"] = o.embedder.model_copy(update={"provider": changed})
