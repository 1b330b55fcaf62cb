"""What a corpus of a size would take: tokens, money, hours, bytes, memory. Arithmetic alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import ceil

from pipelines.operations import sizes
from resources.core.errors import ConfigurationError
from resources.core.vectors import Dtype, check_dimensions
from resources.embedders.batched import BatchedProvider
from resources.embedders.installed import providers
from resources.embedders.resource import EmbedderResource
from resources.models.catalogue import ModelEntry, load_catalogue
from resources.mongodb import tiers
from resources.search_index.declaration import EXACT_BELOW


@dataclass(frozen=True)
class Corpus:
    """What is to be embedded, how, and by how much at once.

    Attributes:
        documents: Of the source.
        tokens: Of a document, on average, as the model counts them.
        model: As the catalogue names it, with its provider before it or without.
        dimensions: The model's default where None.
        dtype: Of the stored vectors.
        chunks: That a document is cut into, on average.
        shards: That the pipeline is split into.
        machines: That work at once.
        requests_per_minute: Of the provider's account; what the catalogue has where None.
        tokens_per_minute: Likewise.
        texts_per_second: That one machine embeds of a local model.
    """

    documents: int
    tokens: float
    model: str
    dimensions: int | None = None
    dtype: Dtype = "float32"
    chunks: float = 1.0
    shards: int = 1
    machines: int = 1
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    texts_per_second: float | None = None


@dataclass(frozen=True)
class Held:
    """A `$vectorSearch` index in memory.

    Attributes:
        bytes: Of all nodes that hold a copy, one copy.
        tier: Whose nodes hold it beside `mongod`.
        clusters: Shards of that tier.
    """

    bytes: float
    tier: str
    clusters: int


@dataclass(frozen=True)
class Estimated:
    """None is what is not known; see `notes`. Seconds and bytes; money at list price.

    Attributes:
        texts: Chunks to embed and store; texts that are the same are embedded once.
        batch_cost_usd: By batch jobs; None where there are none.
        free_tokens: Of an account, once; not deducted.
        requests: To the provider.
        provider_seconds: At its quota, or at the rate of the machines.
        limited_by: What that time follows from.
        own_seconds: Of a first run's own work: reading, comparing, writing; `search_index` apart.
        unchanged_seconds: Of a run that finds nothing changed, in one process.
        vector: Bytes of one, as it is stored.
        lineage: Bytes of one.
        stored: Bytes of all documents with vectors, in a collection of their own, before
            compression.
        batch_files: How many.
        batch_texts: In each.
        batches: Bytes of all of them.
        plan: Bytes of the first run's, in the batch store.
        planner: Bytes of the first run's working file, in the folder for temporary files.
        planner_unchanged: The same of a run that finds nothing changed.
        local_index: Bytes of its files, which searches map into memory.
        local_index_ids: Bytes of ids in each process that searches.
        local_index_seconds: To build it from nothing.
        search_nodes: By quantization.
        shard_texts: Of one shard.
        prices: Where price and limits come from.
    """

    corpus: Corpus
    model: str
    provider: str
    dimensions: int
    texts: int
    tokens: int
    cost_usd: float | None
    batch_cost_usd: float | None
    free_tokens: int | None
    requests: int | None
    provider_seconds: float | None
    limited_by: str
    own_seconds: float
    unchanged_seconds: float
    vector: int
    lineage: int
    text: float
    stored: float
    batch_files: int
    batch_texts: int
    batches: float
    plan: float
    planner: float
    planner_unchanged: float
    local_index: float
    local_index_ids: float
    local_index_seconds: float
    search_nodes: Mapping[str, Held]
    shard_texts: int
    shard_batches: int
    prices: str = ""
    notes: list[str] = field(default_factory=list)


def estimate(corpus: Corpus) -> Estimated:
    """What a first run over the corpus takes, and each run after it.

    Raises:
        ConfigurationError: The model is not known, or has no such vectors.
    """
    entry = find_model(corpus.model)
    dimensions = _dimensions(entry, corpus)
    notes: list[str] = []
    texts = ceil(corpus.documents * corpus.chunks)
    tokens = round(corpus.documents * corpus.tokens)
    each = corpus.tokens / corpus.chunks
    if entry.max_tokens and each > entry.max_tokens:
        notes.append(
            f"{entry.model} reads {entry.max_tokens:,} tokens of a text: cut documents into chunks"
        )
    batch_texts = _batch_texts(each)
    batch_files = ceil(texts / batch_texts)
    cost = _cost(entry, tokens, notes)
    requests = None if entry.local else batch_files * _requests_a_batch(entry, batch_texts, each)
    seconds, limited_by = _provider_seconds(entry, corpus, texts, tokens, requests, notes)
    at_once = min(corpus.machines, corpus.shards)
    if at_once < corpus.machines:
        notes.append(
            f"{corpus.machines} machines share the work of {corpus.shards} shards: more shards, or "
            "fewer machines"
        )
    unchanged = texts / sizes.UNCHANGED_PER_SECOND
    factor = _batch_factor(entry)
    vector = sizes.vector_bytes(dimensions, corpus.dtype)
    text = sizes.text_bytes(each)
    graph = texts > EXACT_BELOW
    seen = sizes.PLANNER_SEEN * (corpus.documents if corpus.chunks > 1 else 0)
    return Estimated(
        corpus=corpus,
        model=entry.model,
        provider=entry.provider,
        dimensions=dimensions,
        texts=texts,
        tokens=tokens,
        cost_usd=cost,
        batch_cost_usd=cost * factor if cost is not None and factor is not None else None,
        free_tokens=entry.free_tokens,
        requests=requests,
        provider_seconds=seconds,
        limited_by=limited_by,
        # The source is read and compared by one process; the rest is shared.
        own_seconds=unchanged + (texts / sizes.COLD_PER_SECOND - unchanged) / at_once,
        unchanged_seconds=unchanged,
        vector=vector,
        lineage=sizes.LINEAGE,
        text=text,
        stored=texts * (vector + text + sizes.DOCUMENT),
        batch_files=batch_files,
        batch_texts=batch_texts,
        batches=texts * sizes.batch_row(dimensions),
        plan=texts * sizes.plan_row(each),
        planner=texts * sizes.planner_row(each) + seen,
        planner_unchanged=texts * sizes.PLANNER_SEEN + seen,
        local_index=texts * sizes.local_row(dimensions, graph=graph),
        local_index_ids=texts * sizes.LOCAL_ID,
        local_index_seconds=texts / sizes.INDEXED_PER_SECOND,
        search_nodes={
            name: _held(texts * one)
            for name, one in sizes.search_nodes(dimensions, corpus.dtype).items()
        },
        shard_texts=ceil(texts / corpus.shards),
        shard_batches=ceil(batch_files / corpus.shards),
        prices=_sources(entry),
        notes=notes,
    )


def find_model(name: str) -> ModelEntry:
    """The model of a name, with its provider before it or without.

    Raises:
        ConfigurationError: There is none, or there are several.
    """
    known = [each for each in load_catalogue().values() if each.task == "embed"]
    found = [each for each in known if name in (each.model, each.key)]
    if len(found) == 1:
        return found[0]
    if found:
        keys = " or ".join(each.key for each in found)
        raise ConfigurationError(f"several providers have a model {name}: say {keys}")
    names = {each.model.lower(): each.model for each in known}
    # The owner before a name is what people leave out.
    names |= {each.model.rsplit("/", 1)[-1].lower(): each.model for each in known}
    near = get_close_matches(name.rsplit("/", 1)[-1].lower(), names, n=3, cutoff=0.5)
    nearest = ", ".join(dict.fromkeys(names[each] for each in near))
    raise ConfigurationError(
        f"the catalogue has no model {name} that embeds"
        + (f"; its nearest names are {nearest}" if nearest else "")
        + ": see `embeddings models`, or add it to a file of your own that EMBEDDINGS_MODELS names"
    )


def _dimensions(entry: ModelEntry, corpus: Corpus) -> int:
    wide = corpus.dimensions or entry.dimensions[0]
    offered = wide in entry.dimensions or (entry.shrinkable and wide <= max(entry.dimensions))
    if not offered:
        less = " or fewer" if entry.shrinkable else ""
        raise ConfigurationError(
            f"{entry.model} has no vectors of {wide} dimensions: choose among "
            f"{', '.join(map(str, entry.dimensions))}{less}"
        )
    check_dimensions(wide, corpus.dtype, "none")
    return wide


def _batch_texts(tokens: float) -> int:
    """Texts of an embedding batch, by its defaults: so many, or fewer where they are long."""
    limits = EmbedderResource.model_fields
    most, whole = limits["max_batch_chunks"].default, limits["max_batch_tokens"].default
    return max(1, min(most, int(whole // max(1.0, sizes.estimated_tokens(tokens)))))


def _requests_a_batch(entry: ModelEntry, texts: int, tokens: float) -> int:
    by_texts = texts / entry.max_texts if entry.max_texts else 1.0
    estimated = texts * sizes.estimated_tokens(tokens)
    by_tokens = estimated / entry.max_request_tokens if entry.max_request_tokens else 1.0
    return max(1, ceil(by_texts), ceil(by_tokens))


def _cost(entry: ModelEntry, tokens: int, notes: list[str]) -> float | None:
    price = entry.usd_per_million
    if price is None:
        notes.append(f"the price of {entry.model} is not known: see EMBEDDINGS_MODELS")
        return None
    if entry.free_tokens:
        notes.append(
            f"{entry.free_tokens:,} tokens of an account are free, once: they are not deducted"
        )
    return price * tokens / 1_000_000


def _batch_factor(entry: ModelEntry) -> float | None:
    kind = providers().get(entry.provider)
    if entry.local or kind is None or not issubclass(kind, BatchedProvider):
        return None
    return kind.batch_price_factor


def _provider_seconds(
    entry: ModelEntry,
    corpus: Corpus,
    texts: int,
    tokens: int,
    requests: int | None,
    notes: list[str],
) -> tuple[float | None, str]:
    if entry.local:
        if corpus.texts_per_second is None:
            notes.append(
                f"{entry.model} runs on machines of yours: --texts-per-second says how fast, or "
                "--measure finds out here"
            )
            return None, ""
        at_once = min(corpus.machines, corpus.shards)
        return texts / corpus.texts_per_second / at_once, "the rate of the machines"
    published = entry.rate_limits
    rpm = corpus.requests_per_minute or (published.rpm if published else None)
    tpm = corpus.tokens_per_minute or (published.tpm if published else None)
    each = {}
    if rpm and requests:
        each["requests a minute"] = requests / rpm * 60
    if tpm:
        each["tokens a minute"] = tokens / tpm * 60
    if not each:
        notes.append(
            f"the limits of {entry.model} are not known: give --requests-per-minute and "
            "--tokens-per-minute, as your account's page at the provider has them"
        )
        return None, ""
    limit = max(each, key=lambda name: each[name])
    return each[limit], limit


def _held(count: float) -> Held:
    found = tiers.fit(count)
    return Held(count, found.tier, found.clusters)


def _sources(entry: ModelEntry) -> str:
    said = []
    if entry.price:
        source = f", {entry.price.source}" if entry.price.source else ""
        said.append(f"list price of {entry.price.date}{source}")
    if entry.rate_limits:
        said.append(f"limits of the first tier, {', '.join(entry.sources)}")
    return "; ".join(said)
