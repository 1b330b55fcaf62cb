"""The space as `search_quality`'s page shows it: a map, and what it tells of documents and queries.

Whatever of it cannot be had is left out with a sentence: it is no reason to lose a measurement.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.report import tables
from assets.report.pictures import LEFT_OUT, picture
from assets.work.opened import Opened
from assets.work.quality.landscape import landscape
from resources.core.errors import EmbeddingsError
from resources.core.keys import key, shown
from resources.core.markdown import literal
from resources.evaluation.landscape import ALIKE, Pair
from resources.evaluation.pictures.space import LONELY, space_png
from resources.evaluation.space import Landscape

PICTURE = "picture of the space"
SAMPLED = "vectors in the picture"
PAIRS = f"pairs of similarity {ALIKE:g} or more"
USUAL = "usual similarity to the ten nearest"
SKEWNESS = "hubness (skewness)"
RETURNED = "documents that some query finds in its ten best"
LEVEL = "19 of 20 documents have one this near"
ALIKE_TABLE, OUTLYING, HUBS, ALONE = "near duplicates", "outliers", "hubs", "nothing lies near"
NAMES = (
    *(PICTURE, SAMPLED, PAIRS, USUAL, SKEWNESS, RETURNED, LONELY, LEVEL),
    *(ALIKE_TABLE, OUTLYING, HUBS, ALONE),
)
OUTLIERS = 10


def space(o: Opened, evaluation: str) -> dict[str, Any]:
    """Metadata of where documents and queries lie.

    Args:
        o: The pipeline.
        evaluation: Id of the one whose rankings are looked at.
    """
    try:
        found = landscape(o, evaluation)
    except EmbeddingsError as error:
        return {PICTURE: dg.MetadataValue.md(literal(f"{LEFT_OUT}{error}"))}
    return told(found)


def told(found: Landscape) -> dict[str, Any]:
    """All of it as metadata."""
    around, hubs = found.around, found.hubness
    said: dict[str, Any] = {
        PICTURE: picture(PICTURE, lambda: space_png(found)),
        SAMPLED: len(found.sample),
        PAIRS: around.alike,
        USUAL: round(around.usual, 4),
        SKEWNESS: round(hubs.skewness, 4),
        RETURNED: hubs.returned,
    }
    if found.all_lonely is not None:
        said[LONELY] = found.all_lonely
        said[LEVEL] = round(around.level or 0.0, 4)
    made = {
        ALIKE_TABLE: [_pair(found, pair) for pair in around.pairs],
        OUTLYING: _outliers(found),
        HUBS: _hubs(found),
        ALONE: _lonely(found),
    }
    return said | {name: tables.table(rows) for name, rows in made.items() if rows}


def _pair(found: Landscape, pair: Pair) -> dict[str, Any]:
    one, other = (_document(found, row) for row in (pair.first, pair.second))
    return {
        "similarity": round(pair.similarity, 4),
        "document": one[0],
        "text": one[1],
        "and": other[0],
        "its text": other[1],
    }


def _outliers(found: Landscape) -> Sequence[dict[str, Any]]:
    rows = []
    for each in found.around.outliers[:OUTLIERS]:
        name, text = _document(found, each.row)
        near, near_text = _document(found, each.nearest)
        rows.append(
            {
                "similarity": round(each.similarity, 4),
                "document": name,
                "text": text,
                "nearest": near,
                "its text": near_text,
            }
        )
    return rows


def _document(found: Landscape, row: int) -> tuple[str, str]:
    sample = found.sample
    return tables.cell(shown(sample.ids[row])), tables.cell(sample.texts[row], tables.TEXT)


def _hubs(found: Landscape) -> Sequence[dict[str, Any]]:
    return [
        {
            "document": tables.cell(shown(hub.id)),
            "text": tables.cell(found.texts.get(key(hub.id), ""), tables.TEXT),
            "queries that find it": hub.queries,
            "share of all": round(hub.share, 4),
            "of those it answers": hub.relevant,
        }
        for hub in found.hubness.hubs
    ]


def _lonely(found: Landscape) -> Sequence[dict[str, Any]]:
    return [
        {
            "query": tables.cell(each.query, tables.TEXT),
            "similarity of its nearest": None
            if each.similarity is None
            else round(each.similarity, 4),
            "nearest": "" if each.similarity is None else tables.cell(shown(each.nearest)),
            "judged to have an answer": "yes" if each.answerable else "no",
        }
        for each in found.lonely
    ]
