"""What comparing candidates comes to: numbers, and what they rest on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.evaluation.measures import Difference, Interval


@dataclass(frozen=True)
class Whole:
    """What a candidate would take for the whole source, from nothing.

    Attributes:
        chunks: Exact without chunking, else from the sample's chunks per character; likewise
            `tokens`, as billed where the provider tells.
        cost_usd: At list price; None where no price is known.
        seconds: At the rate measured here or in the ledger; None before the first run.
        bytes: Of the stored vectors, their finer field included.
    """

    chunks: int
    tokens: int
    cost_usd: float | None
    seconds: float | None
    bytes: int


@dataclass(frozen=True)
class Latency:
    """Seconds, on this machine, in the sample; None where nothing was timed.

    Attributes:
        embed: Of embedding one query: p50 and p95.
        search: Of finding and, where one does, reranking: p50 and p95.
    """

    embed: tuple[float, float] | None
    search: tuple[float, float] | None


@dataclass(frozen=True)
class Row:
    """One candidate in one variant.

    Attributes:
        candidate: Its name; the first row is the pipeline as it stands.
        files: That were put on top of the pipeline's own.
        dimensions: 0 where only words count; `stored_as` is empty then.
        similarity: By which the vectors are compared.
        reranked: By which model; None: by none.
        text: The field or template that is embedded; `chunking` how it is cut.
        measures: By name, of the answerable queries.
        against: The same less those of the first row, with how likely chance alone is.
        whole: What the whole source would take.
        bytes_per_vector: In its document.
        chunks: In the sample, and those `without` a vector.
        notes: What a person should know about these figures, as sentences.
    """

    candidate: str
    files: Sequence[str]
    provider: str
    model: str
    space: str
    dimensions: int
    stored_as: str
    similarity: str
    mode: str
    reranked: str | None
    text: str
    chunking: str
    measures: Mapping[str, Interval]
    against: Mapping[str, Difference]
    latency: Latency
    whole: Whole
    bytes_per_vector: int
    chunks: int
    without: int
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Spending:
    """Of this evaluation, at list price; what was there already cost nothing.

    Attributes:
        texts: That were embedded.
        tokens: As billed where that is known.
        cost_usd: None where no price is known; queries and reranking as estimated.
    """

    texts: int
    tokens: int
    cost_usd: float | None


@dataclass(frozen=True)
class Changed:
    """A query that one row answers worse than the first.

    Attributes:
        measures: Of the first measure: in the first row, and in the other.
        before: Texts of the documents that the first row finds, each with whether it is relevant.
        now: Those of the other.
        missed: Relevant documents that neither finds there.
    """

    id: str
    text: str
    measures: tuple[float, float]
    before: Sequence[tuple[str, bool]]
    now: Sequence[tuple[str, bool]]
    missed: Sequence[str]


@dataclass(frozen=True)
class Compared:
    """All that was measured.

    Attributes:
        id: Of the evaluation; it sorts by time.
        queries: The set, in a few words, and `digest` of its queries with their judgements.
        answerable: Queries that the figures are of; `unanswerable` others.
        documents: In the sample: `relevant` ones and distractors.
        corpus: Documents of the whole source.
        rejected: Its records that make no text.
        absent: Relevant documents that the source does not have, and the first of them.
        rows: The pipeline as it stands first.
        worse: By the number of a row, queries that it answers worse than the first.
        runs: Files of TREC's that were written.
        notes: What a person should know about all of it, as sentences.
    """

    id: str
    pipeline: str
    queries: str
    digest: str
    known_item: bool
    answerable: int
    unanswerable: int
    documents: int
    relevant: int
    corpus: int
    rejected: int
    absent: int
    absent_ids: Sequence[str]
    rows: Sequence[Row]
    spent: Spending
    worse: Mapping[int, Sequence[Changed]] = field(default_factory=dict)
    runs: Sequence[str] = ()
    notes: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
