"""A comparison as one page to hand around."""

from collections.abc import Mapping, Sequence
from importlib import metadata

from assets.work.budget import dollars
from assets.work.evaluating.figures import Changed, Compared, Row
from assets.work.evaluating.sample import SEED
from pipelines.operations.evaluation.telling import (
    FIRST,
    how,
    label,
    milliseconds,
    of_one,
    probability,
    sentences,
    signed,
    size,
    spent,
    takes,
    title,
)
from resources.core.moment import now
from resources.evaluation import space_page
from resources.evaluation.measures import CONFIDENCE, MEASURES, RESAMPLES
from resources.evaluation.report import (
    Answers,
    Facts,
    Found,
    Part,
    Report,
    Section,
    Table,
    drawn,
    page,
)


def as_page(compared: Compared, measure: str = FIRST) -> str:
    """The page, as HTML in one file; without matplotlib its pictures are left out."""
    return page(
        Report(
            f"{compared.pipeline}: what searches would be like",
            [*sentences(compared, measure), spent(compared)],
            [
                Section("Side by side", [_quality(compared), *_picture(compared, measure)]),
                Section("What it would take", [_cost(compared)]),
                *_worse(compared),
                *(space_page.sections(compared.landscape) if compared.landscape else ()),
                Section("How it was measured", [_measured(compared)]),
            ],
            now(),
        )
    )


def _quality(compared: Compared) -> Table:
    rows = []
    for row in compared.rows:
        against = row.against.get(FIRST)
        rows.append(
            [
                *_names(row, compared.rows),
                *(row.measures[name] for name in MEASURES),
                signed(against.mean) if against else "",
                f"{'no' if against.significant else 'yes'}, {probability(against.p)}"
                if against
                else "",
            ]
        )
    columns = [
        *_named(compared.rows), *map(title, MEASURES), "difference", "could be chance",
    ]  # fmt: skip
    caption = (
        f"The first row is the pipeline as it stands; the differences are those of {title(FIRST)} "
        "to it."
    )
    return Table(columns, rows, caption, frozenset({0}))


def _named(rows: Sequence[Row]) -> list[str]:
    """The columns that tell the rows apart."""
    return ["how"] if of_one(rows) else ["candidate", "how"]


def _names(row: Row, rows: Sequence[Row]) -> list[str]:
    return [how(row)] if of_one(rows) else [row.candidate, how(row)]


def _picture(compared: Compared, measure: str) -> Sequence[Part]:
    from resources.evaluation.pictures.quality_against_bytes import Point, quality_against_bytes

    points = [
        Point(
            label(row, compared.rows),
            row.bytes_per_vector,
            row.measures[measure],
            chosen=not number,
        )
        for number, row in enumerate(compared.rows)
        if row.bytes_per_vector and row.mode == "vector" and not row.reranked
    ]
    if len(points) < 2:
        return []
    shows = f"{title(measure)} against the bytes of a vector, a point for each row"
    return [drawn(lambda: quality_against_bytes(points, title(measure)), shows)]


def _cost(compared: Compared) -> Table:
    rows = [
        [
            *_names(row, compared.rows),
            row.bytes_per_vector or None,
            size(row.whole.bytes) if row.whole.bytes else "",
            row.whole.chunks,
            row.whole.tokens or None,
            dollars(row.whole.cost_usd) if row.mode != "text" else "",
            takes(row) if row.mode != "text" else "",
            *_milliseconds(row),
        ]
        for row in compared.rows
    ]
    columns = [
        *_named(compared.rows), "bytes of a vector", "of all", "chunks", "tokens", "cost",
        "time to embed", "embedding a query, p50", "p95", "searching, p50", "p95",
    ]  # fmt: skip
    caption = (
        f"For the whole source of {compared.corpus:,} documents, from nothing; a search's time is "
        "that of comparing with the whole sample on this machine."
    )
    return Table(columns, rows, caption, frozenset({0}))


def _milliseconds(row: Row) -> list[str]:
    found = []
    for pair in (row.latency.embed, row.latency.search):
        found += [f"{milliseconds(each)} ms" for each in pair] if pair else ["", ""]
    return found


def _worse(compared: Compared) -> list[Section]:
    """Of each candidate's first row, and of the baseline's others."""
    sections, seen = [], set[str]()
    for number, queries in compared.worse.items():
        row = compared.rows[number]
        if row.candidate in seen:
            continue
        seen.add(row.candidate)
        name = label(row, compared.rows)
        parts = [_answers(each, name) for each in queries]
        sections.append(Section(f"Queries that {name} answers worse", parts))
    return sections


def _answers(changed: Changed, name: str) -> Answers:
    before, now_ = changed.measures
    lists: Mapping[str, Sequence[Found]] = {
        "as it stands": [Found(*each) for each in changed.before],
        name: [Found(*each) for each in changed.now],
    }
    note = f"{title(FIRST)} {before:.4f} before, {now_:.4f} here"
    return Answers(changed.text, lists, note, changed.missed)


def _measured(compared: Compared) -> Facts:
    return Facts(
        {
            "queries": compared.queries,
            "query set": compared.digest,
            "answerable": compared.answerable,
            "with nothing relevant": compared.unanswerable,
            "sample": f"{compared.documents:,} documents, {compared.relevant:,} of them relevant",
            "sample's digest": compared.sample,
            "documents of the source": compared.corpus,
            "drawn by": f"a hash of each id, seed {SEED}",
            "intervals": f"{CONFIDENCE:.0%}, by {RESAMPLES:,} resamples of the queries; p by as "
            "many random exchanges of the two",
            "measured by": _versions(),
            "evaluation": compared.id,
        }
    )


def _versions() -> str:
    names = ("ir-measures", "pytrec-eval-terrier", "numpy")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)
