"""Tables of metadata: what stands in their cells is text to the Dagster UI, never Markdown.

It shows every row of a table at once, and of Markdown from 1,000 characters on only a button.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np

from assets.work.proving import Probe
from resources.core.chunks import Chunk
from resources.core.keys import shown
from resources.core.space import EmbeddingSpace
from resources.registry.quarantine import Quarantined
from resources.vector_store.format_quality import FormatQuality

ROWS = 20
"""A table's: who wants more asks a command."""

WIDTH = 100
"""Characters of a cell."""

TEXT = 60
"""Characters of a document's text in a cell."""


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """The first rows, all of the same columns; there is at least one."""
    cells = [{name: cell(value) for name, value in row.items()} for row in rows[:ROWS]]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in cells])


def cell(value: object, width: int = WIDTH) -> Any:
    """Numbers as they are, anything else as one short line."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = " ".join(str(value).split()).encode("utf-8", "replace").decode()
    return text if len(text) <= width else text[: width - 1] + "…"


def chunks(found: Sequence[Chunk]) -> dg.TableMetadataValue:
    return table(
        [
            {
                "id": shown(chunk.id),
                "text": cell(chunk.text, TEXT),
                "fields": cell(", ".join(map(_shown, chunk.fields.values())), TEXT),
            }
            for chunk in found
        ]
    )


def vectors(found: Sequence[tuple[Chunk, np.ndarray, int]]) -> dg.TableMetadataValue:
    """Texts with the beginning of their vectors; tokens are -1 where they are not known."""
    rows = []
    for chunk, vector, tokens in found:
        format_ = "+.2f" if vector.dtype == np.float32 else ""
        start = ", ".join(format(value, format_) for value in vector[:2])
        rows.append(
            {
                "id": shown(chunk.id),
                "text": cell(chunk.text, TEXT),
                "tokens": None if tokens < 0 else int(tokens),
                "vector": f"{start}, …",
            }
        )
    return table(rows)


def quarantine(entries: Sequence[Quarantined]) -> dg.TableMetadataValue:
    return table(
        [
            {
                "id": "" if entry.id is None else shown(entry.id),
                "reason": cell(entry.reason, 3 * WIDTH),
                "where": entry.where,
                "text": cell(entry.excerpt, TEXT),
                "times seen": entry.count,
                "first seen": f"{entry.first_seen:%Y-%m-%d %H:%M}",
                "last seen": f"{entry.last_seen:%Y-%m-%d %H:%M}",
            }
            for entry in entries
        ]
    )


def formats(found: Sequence[FormatQuality], mine: str) -> dg.TableMetadataValue:
    """Bytes and quality of the format that is chosen and of those that could be."""
    return table(
        [
            {
                "stored as": row.format,
                "bytes per vector": row.bytes,
                "in the index": row.indexed_bytes,
                "recall@10": round(float(row.recall), 3),
                "chosen": "yes" if row.format == mine else "",
            }
            for row in found
        ]
    )


def spaces(found: Sequence[tuple[EmbeddingSpace | None, str, int]]) -> dg.TableMetadataValue:
    """Counted by an index; `embeddings lineage` reads every document, and knows days and models."""
    return table(
        [
            {"model": space.model if space else "?", "space": name, "vectors": vectors}
            for space, name, vectors in found
        ]
    )


def probes(found: Sequence[Probe]) -> dg.TableMetadataValue:
    return table(
        [
            {"searched for": probe.id, "found first": probe.found, "score": round(probe.score, 4)}
            for probe in found
        ]
    )


def _shown(value: object) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)
