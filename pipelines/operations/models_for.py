"""Which models would do for a pipeline's texts: what each would cost, hold, and was measured at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pymongo.errors import PyMongoError

from assets.work.lengths import Corpus, Counted, counted, estimated, read_lengths
from assets.work.opened import Opened
from pipelines.framework.catalog import as_pipeline, missing_variables, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.measured import Measured, Yardstick, measured_here, yardstick
from resources.core.errors import DeploymentError, EmbeddingsError
from resources.core.space import EmbeddingSpace
from resources.embedders.batched import BatchedProvider
from resources.embedders.facts import Facts
from resources.embedders.installed import providers
from resources.models.catalogue import STATUSES, ModelEntry, load_catalogue

Choose = Callable[[Sequence[ModelEntry]], Sequence[ModelEntry]]


@dataclass(frozen=True)
class Ranked:
    """A model, seen from one corpus; None is what is not known.

    Attributes:
        serves: It is the pipeline's own.
        same_space: Its vectors may be compared with those of the pipeline's own model.
        tokens: Of all distinct texts, as the model counts them.
        counted_by: The model whose tokenizer counted texts of this corpus; None: estimated from
            characters.
        too_long: Share of the distinct texts that are longer than it reads.
        cost_usd: Of embedding the whole corpus once, at list price, free tokens not deducted.
        batch_cost_usd: The same by batch jobs; None where there are none.
        bytes: Of all vectors as this pipeline would store them, by dimensions; the first that it
            would get.
        refused: Why the pipeline's settings do not go with it; empty where they do.
        measured: What was measured of it here, the newest first.
        figure: The one of them that it is ranked by.
    """

    entry: ModelEntry
    serves: bool = False
    same_space: bool = False
    tokens: int | None = None
    counted_by: str | None = None
    too_long: float | None = None
    cost_usd: float | None = None
    batch_cost_usd: float | None = None
    bytes: Mapping[int, int] = field(default_factory=dict)
    refused: str = ""
    measured: Sequence[Measured] = ()
    figure: Measured | None = None


@dataclass(frozen=True)
class Choice:
    """The models, best first.

    Attributes:
        corpus: What the source comes to; None where it cannot be read.
        asked: What the pipeline's index asks of vectors.
        rule: By what they are ranked, as one sentence.
        notes: What is not known, and why.
    """

    pipeline: str
    corpus: Corpus | None
    asked: str
    models: Sequence[Ranked]
    rule: str
    notes: Sequence[str]


def models_for(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    sample: int | None = None,
    choose: Choose = lambda entries: entries,
) -> Choice:
    """Rank models for a pipeline's corpus; writes nothing, asks no provider, wakes no server.

    An embedded server is only started where the corpus itself lies in it.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        sample: Records of the source to read at most.
        choose: Which of the models that are known are looked at.

    Raises:
        EmbeddingsError: The settings are wrong, or the source cannot be read.
    """
    pipeline = as_pipeline(pipeline)
    missing = missing_variables(pipeline, overrides)
    reachable = "mongodb" not in missing.values()
    notes: list[str] = []
    with open_pipeline(pipeline, overrides, without=missing) as opened:
        corpus = _corpus(opened, sample, notes, reachable=reachable)
        o = _serving(opened, notes, reachable=reachable)
        facts, own = _own(o, notes)
        counts: Sequence[Counted] = ()
        if corpus is not None:
            counts = counted(corpus, o.batches, own.id if own else None)
        figures = _figures(o, notes, reachable=reachable)
        entries = [each for each in load_catalogue().values() if each.task == "embed"]
        if facts and own:
            entries = _with(entries, own.provider, facts.model, own.model, own.dimensions)
        for each in figures:
            entries = _with(entries, each.provider, each.model, each.model, each.dimensions)
        chosen = choose(entries)
        by = yardstick(figures, o.evaluation.mode)
        found = [
            _ranked(
                o, entry, corpus, counts, facts, own,
                [each for each in figures if each.of(entry)], by,
            )
            for entry in chosen
        ]  # fmt: skip
        found.sort(key=_rank(chosen))
        return Choice(pipeline.name, corpus, _asked(o), found, _rule(by, figures), notes)


def _corpus(o: Opened, sample: int | None, notes: list[str], *, reachable: bool) -> Corpus | None:
    if not o.source.needs_mongodb:
        return read_lengths(o, sample)
    why = "the deployment it lies in cannot be asked without a variable that is not set"
    if reachable:
        try:
            return read_lengths(o, sample)
        except DeploymentError as error:
            why = str(error)
        except PyMongoError as error:
            why = f"{o.mongodb.describe()}: {error}"
    notes.append(f"how long its texts are is not known: {why}")
    return None


def _serving(o: Opened, notes: list[str], *, reachable: bool) -> Opened:
    """In the space that people search, as far as that can be found out."""
    if not reachable or o.mongodb.asleep:
        return o
    try:
        return o.serving
    except (DeploymentError, PyMongoError):
        return o  # what was measured is not known either, and that is said
    except EmbeddingsError as error:
        notes.append(f"how the space is embedded that serves is not known: {error}")
        return o


def _own(o: Opened, notes: list[str]) -> tuple[Facts | None, EmbeddingSpace | None]:
    try:
        return o.embedder.facts(), o.embedder_space
    except EmbeddingsError as error:
        notes.append(f"which of them is its own is not known: {error}")
        return None, None


def _figures(o: Opened, notes: list[str], *, reachable: bool) -> Sequence[Measured]:
    why = "the deployment cannot be asked without a variable that is not set"
    if reachable and o.mongodb.asleep:
        why = "its embedded server is not running; the next run or search starts it"
    elif reachable:
        try:
            return measured_here(o.registry.evaluations.history(o.name, 1_000, kind=None))
        except EmbeddingsError as error:
            why = str(error)
        except PyMongoError as error:
            why = f"{o.mongodb.describe()}: {error}"
    notes.append(f"what was measured here is not known: {why}")
    return ()


def _with(
    entries: list[ModelEntry], provider: str, model: str, space: str, dimensions: int
) -> list[ModelEntry]:
    """The entries, and one of a model that the catalogue does not have."""
    if any((each.provider, each.model) == (provider, model) for each in entries):
        return entries
    local = provider == "sentence_transformers"
    made = ModelEntry(
        provider=provider, model=model, space=space, dimensions=[dimensions], local=local
    )
    return [*entries, made]


def _ranked(
    o: Opened,
    entry: ModelEntry,
    corpus: Corpus | None,
    counts: Sequence[Counted],
    facts: Facts | None,
    own: EmbeddingSpace | None,
    figures: Sequence[Measured],
    by: Yardstick | None,
) -> Ranked:
    serves = bool(facts and own and (entry.provider, entry.model) == (own.provider, facts.model))
    same = bool(own and (entry.provider, entry.space) == (own.provider, own.model))
    space = own if serves and own else _space(entry, entry.dimensions[0])
    price = facts.usd_per_million if serves and facts else entry.usd_per_million
    tokens = counted_by = too_long = None
    if corpus is not None and corpus.texts:
        each, basis = estimated(corpus, counts, entry.provider, entry.space)
        counted_by = basis.space.model if basis else None
        tokens = round(float(each.mean()) * corpus.distinct)
        if entry.max_tokens:
            too_long = float((each > entry.max_tokens).mean())
    cost = None if price is None or tokens is None else price * tokens / 1_000_000
    factor = _batch_factor(entry)
    best = [each for each in figures if by is not None and each.by == by]
    widths = dict.fromkeys([space.dimensions, *entry.dimensions])
    return Ranked(
        entry,
        serves,
        same,
        tokens,
        counted_by,
        too_long,
        cost,
        cost * factor if cost and factor is not None else None,
        {wide: _bytes(o, entry, wide, corpus.chunks) for wide in widths} if corpus else {},
        _refused(o, space),
        figures,
        max(best, key=lambda each: (each.mean, each.at), default=None),
    )


def _space(entry: ModelEntry, dimensions: int) -> EmbeddingSpace:
    """As its provider would name it, as far as an index asks."""
    return EmbeddingSpace(entry.provider, entry.space, "", dimensions, "", normalized=True)


def _batch_factor(entry: ModelEntry) -> float | None:
    kind = providers().get(entry.provider)
    if entry.local or kind is None or not issubclass(kind, BatchedProvider):
        return None
    return kind.batch_price_factor


def _bytes(o: Opened, entry: ModelEntry, dimensions: int, chunks: int) -> int:
    """Of so many vectors, each as it stands in its document."""
    try:
        stored_as = o.vector_store.format(_space(entry, dimensions))
    except EmbeddingsError:
        return 0  # see `refused`
    return chunks * stored_as.bytes_each(dimensions)


def _refused(o: Opened, space: EmbeddingSpace) -> str:
    try:
        o.search_index.check(space, o.vector_store.format(space).dtype, o.vector_store.path)
    except EmbeddingsError as error:
        return str(error)
    return ""


def _asked(o: Opened) -> str:
    index = o.search_index
    says = [f"similarity {index.similarity}"]
    if index.similarity == "dotProduct":
        says[0] += " (vectors of unit length: every model's are, or are made so)"
    if index.quantization != "none":
        eight = ", a multiple of 8 dimensions" if index.quantization == "binary" else ""
        says.append(f"quantization {index.quantization}{eight}")
    if index.filter_fields:
        says.append(f"filters by {', '.join(index.filter_fields)} (of any model)")
    return "; ".join(says)


def _rank(order: Sequence[ModelEntry]) -> Callable[[Ranked], tuple]:
    benchmarks = dict.fromkeys(each.score.benchmark for each in order if each.score)
    first = {name: place for place, name in enumerate(benchmarks)}

    def rank(each: Ranked) -> tuple:
        entry, figure = each.entry, each.figure
        fits = (each.too_long is None, round(each.too_long or 0, 3))
        cost = (each.cost_usd is None, each.cost_usd or 0)
        score = (first[entry.score.benchmark], -entry.score.value) if entry.score else (99, 0)
        return (
            (0, -figure.mean) if figure else (1, 0),
            bool(each.refused),
            STATUSES.index(entry.state()),
            fits,
            cost,
            score,
        )

    return rank


def _rule(by: Yardstick | None, figures: Sequence[Measured]) -> str:
    then = (
        "state, then the share of texts that are too long, then cost, then published score, which "
        "only compares within one benchmark"
    )
    if by is None:
        return f"Ranked by {then}; nothing was measured here that compares models."
    others = any(each.by != by for each in figures)
    apart = "; figures of other queries or ways of asking rank nothing" if others else ""
    return f"Ranked by {by}, which were measured here; the others by {then}{apart}."
