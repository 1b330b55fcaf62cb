"""What a comparison means, in plain sentences: for a terminal, a page and a program alike."""

from collections.abc import Sequence

from assets.work.budget import dollars
from assets.work.evaluating.figures import Compared, Row
from resources.core.progress import duration
from resources.evaluation.measures import MEASURES, Difference

FIRST = next(iter(MEASURES))
NAMES = {"ndcg": "nDCG", "mrr": "MRR"}


def title(measure: str) -> str:
    """`nDCG@10`."""
    name, at, depth = measure.partition("@")
    return f"{NAMES.get(name, name)}{at}{depth}"


def how(row: Row) -> str:
    """`256 int8, hybrid, reranked`; `words`."""
    if row.mode == "text":
        said = "words"
    else:
        said = f"{row.dimensions} {row.stored_as}"
        said += ", hybrid" if row.mode == "hybrid" else ""
    return said + (", reranked" if row.reranked else "")


def label(row: Row, rows: Sequence[Row]) -> str:
    """`voyage.yaml, 512 int8`; without the candidate's name where all rows are of one."""
    return how(row) if of_one(rows) else f"{row.candidate}, {how(row)}"


def of_one(rows: Sequence[Row]) -> bool:
    """Whether they are of one candidate, whose name tells none from another."""
    return len({row.candidate for row in rows}) == 1


def by_chance(difference: Difference) -> str:
    return "more than chance" if difference.significant else "could be chance"


def signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}"


def probability(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def sentences(compared: Compared, measure: str = FIRST) -> list[str]:
    """What follows, that which matters most first."""
    first, *others = compared.rows
    name, base = title(measure), first.measures[measure]
    rows = compared.rows
    found = [
        f"The pipeline as it stands ({how(first)}) has {name} {base}: the mean of "
        f"{compared.answerable:,} queries, and where that of other such queries would lie in 95 of "
        "100 cases."
    ]
    better = [row for row in others if _significant(row, measure, 1)]
    worse = [row for row in others if _significant(row, measure, -1)]
    same = [row for row in others if _same(row, measure)]
    rest = [row for row in others if row not in [*better, *worse, *same]]
    if better:
        found.append(f"Better by more than chance: {_listed(better, rows, measure)}.")
    elif others:
        found.append("Nothing is better than the pipeline as it stands by more than chance.")
    if worse:
        found.append(f"Worse by more than chance: {_listed(worse, rows, measure)}.")
    if rest:
        found.append(f"A difference that could be chance: {_listed(rest, rows, measure)}.")
    if same:
        found.append(f"Alike, query by query: {'; '.join(label(row, rows) for row in same)}.")
    sentence = _smallest(rows, [*better, *same, *rest])
    if sentence:
        found.append(sentence)
    found += _sample(compared)
    found += [f"{note}." for note in compared.notes]
    about: dict[str, dict[str, None]] = {}
    for row in compared.rows:
        for note in row.notes:
            about.setdefault(note, {})[row.candidate] = None
    found += [f"{', '.join(names)}: {note}." for note, names in about.items()]
    return found


def spent(compared: Compared) -> str:
    """What this evaluation itself took."""
    made = compared.spent
    if not made.texts and not made.cost_usd:
        return "Nothing was embedded that was not there already."
    cost = dollars(made.cost_usd)
    return f"Embedded for it: {made.texts:,} texts, about {made.tokens:,} tokens, {cost}."


def takes(row: Row) -> str:
    """How long the whole source would."""
    if row.mode == "text":
        return ""
    return "not known" if row.whole.seconds is None else duration(row.whole.seconds)


def _significant(row: Row, measure: str, sign: int) -> bool:
    against = row.against[measure]
    return against.significant and against.mean * sign > 0


def _same(row: Row, measure: str) -> bool:
    against = row.against[measure]
    return against.mean == against.low == against.high == 0


def _listed(some: Sequence[Row], rows: Sequence[Row], measure: str, most: int = 8) -> str:
    ordered = sorted(some, key=lambda row: -row.against[measure].mean)
    said = []
    for row in ordered[:most]:
        against = row.against[measure]
        said.append(f"{label(row, rows)} ({signed(against.mean)}, {probability(against.p)})")
    if len(ordered) > most:
        said.append(f"{len(ordered) - most} more")
    return "; ".join(said)


def _smallest(rows: Sequence[Row], good: Sequence[Row]) -> str:
    """Of those that are not worse by more than chance, the one that takes the least room."""
    first = rows[0]
    smaller = [
        row
        for row in good
        if row.bytes_per_vector and row.whole.bytes < first.whole.bytes and row.mode == first.mode
    ]
    if not smaller:
        return ""
    least = min(smaller, key=lambda row: row.whole.bytes)
    return (
        f"The smallest that is not worse by more than chance: {label(least, rows)}, "
        f"{size(least.whole.bytes)} for the whole source in place of {size(first.whole.bytes)}."
    )


def _sample(compared: Compared) -> list[str]:
    found = []
    if compared.documents < compared.corpus:
        found.append(
            f"Measured on {compared.documents:,} of {compared.corpus:,} documents, the "
            f"{compared.relevant:,} relevant ones among them: compare the rows with one another; "
            "among more documents figures fall."
        )
    else:
        found.append(f"Measured on all {compared.corpus:,} documents of the source.")
    if compared.known_item and any(row.mode != "vector" for row in compared.rows):
        found.append(
            "The queries were made from the documents themselves, so their words are in them: "
            "nothing follows for searches by words, or by both."
        )
    return found


def milliseconds(seconds: float) -> str:
    """`0.77`, `1,890`."""
    found = 1_000 * seconds
    return f"{found:,.0f}" if found >= 100 else f"{found:.2g}"


def size(count: float) -> str:
    """`1.2 GB`."""
    for unit, least in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.3g} {unit}"
    return f"{count:.0f} B"
