"""A landscape as a part of the page to hand around."""

from collections.abc import Sequence

from resources.core.keys import key, shown
from resources.core.visible import line
from resources.evaluation.landscape import ALIKE
from resources.evaluation.pictures.space import LONELY, space_png
from resources.evaluation.report import Part, Section, Table, drawn
from resources.evaluation.space import Landscape

TEXT = 160
ROWS = 10


def sections(found: Landscape, whose: str = "") -> Sequence[Section]:
    """The map, and what it tells of documents and queries; what there is nothing of is left out.

    Args:
        found: The landscape.
        whose: Of which candidate, where there are several.
    """
    of = f", {whose}" if whose else ""
    return [
        Section(f"Picture of the space{of}", _space(found)),
        Section(f"Hubs{of}", _hubs(found)),
        Section(f"Near-duplicates{of}", _pairs(found)),
        Section(f"Outliers{of}", _outliers(found)),
    ]


def _space(found: Landscape) -> list[Part]:
    if not len(found.sample):
        return []
    by = found.by or "cluster, named by the words that tell it from the others"
    parts: list[Part] = [
        drawn(
            lambda: space_png(found),
            f"a map of {len(found.sample):,} vectors, coloured by {by}",
            f"Coloured by {by}.",
        )
    ]
    if found.all_lonely is None or found.around.level is None:
        return parts
    if not found.all_lonely:
        return [*parts, "Something lies near every query."]
    is_far = "A query counts as far from everything"
    parts.append(
        f"Nothing lies near {found.all_lonely:,} queries. {is_far} where its nearest hit has a "
        f"similarity below {found.around.level:.3f}: 19 of 20 documents have a neighbour nearer "
        "than that."
    )
    rows = [
        [each.query, each.similarity, "" if each.similarity is None else shown(each.nearest),
         each.answerable]
        for each in found.lonely[:ROWS]
    ]  # fmt: skip
    columns = ["query", "similarity of its nearest", "nearest", "judged to have an answer"]
    return [*parts, Table(columns, rows, LONELY.capitalize())]


def _hubs(found: Landscape) -> list[Part]:
    hubs = found.hubness
    if not hubs.hubs:
        return []
    said = (
        f"Of {hubs.documents:,} documents, {hubs.returned:,} are among the ten best of some query. "
        f"How often each is has a skewness of {hubs.skewness:.2f}: the higher, the more a few "
        "documents answer everything."
    )
    rows = [
        [shown(hub.id), found.texts.get(key(hub.id), ""), hub.queries, f"{hub.share:.1%}",
         hub.relevant]
        for hub in hubs.hubs
    ]  # fmt: skip
    columns = ["document", "text", "queries that find it", "share of all", "of those it answers"]
    return [said, Table(columns, rows, "Documents that many queries return")]


def _pairs(found: Landscape) -> list[Part]:
    around = found.around
    if not around.pairs:
        return []
    said = (
        f"{around.alike:,} pairs of different documents among {len(found.sample):,} vectors have a "
        f"similarity of {ALIKE:g} or more."
    )
    rows = [
        [pair.similarity, *_document(found, pair.first), *_document(found, pair.second)]
        for pair in around.pairs[:ROWS]
    ]
    return [said, Table(["similarity", "document", "text", "and", "its text"], rows)]


def _outliers(found: Landscape) -> list[Part]:
    around = found.around
    if not around.outliers:
        return []
    said = (
        "These lie farthest from their ten nearest; half of all have a mean similarity of "
        f"{around.usual:.3f} or more to theirs."
    )
    rows = [
        [each.similarity, *_document(found, each.row), shown(found.sample.ids[each.nearest])]
        for each in around.outliers[:ROWS]
    ]
    return [said, Table(["similarity", "document", "text", "nearest"], rows)]


def _document(found: Landscape, row: int) -> tuple[str, str]:
    return shown(found.sample.ids[row]), line(found.sample.texts[row], TEXT)
