"""Which segments of a local index are merged, when, and what a merge that came late is worth.

FAISS can neither merge graphs nor remove from them: merging a segment with a graph means building
another. That is done beside a version that serves. Segments without one are copied, in time that
goes by the change: each is more than `GROWTH` times as large as all that came after it.
"""

from collections.abc import Sequence

import numpy as np

from resources.search_index.declaration import EXACT_BELOW
from resources.search_index.filters.columns import Mask
from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.segment import Segment
from resources.search_index.local.version import Rows, Version

GROWTH = 4
MOST_SEGMENTS = 8
MERGE_SHARE = 0.1
"""Of what graphs hold: so much that is deleted, or in no graph, makes a merge due."""


def alive_rows(segment: Segment, deleted: Mask | None) -> Rows:
    if deleted is None:
        return np.arange(len(segment), dtype=np.int64)
    return np.flatnonzero(~deleted).astype(np.int64)


def kept_segments(segments: Sequence[Segment], deleted: Sequence[Mask], more: int) -> int:
    """How many of the oldest segments stay as they are where so many rows are added.

    The others are copied into the new segment, without their deleted rows.
    """
    alive = [int(np.count_nonzero(~mask)) for mask in deleted]
    kept = len(segments)
    while kept and not segments[kept - 1].has_graph:
        crowded = kept + 1 > MOST_SEGMENTS
        if not crowded and alive[kept - 1] > GROWTH * more:
            break
        kept -= 1
        more += alive[kept]
    return kept


def worth_a_graph(rows: int, others: Sequence[Segment]) -> bool:
    """Whether a segment that is added gets a graph of its own at once.

    A large one does, unless it is so large beside the others that a merge gives all of it a graph.
    """
    graphs = sum(len(segment) for segment in others if segment.has_graph)
    return EXACT_BELOW < rows <= MERGE_SHARE * graphs


def merge_due(version: Version) -> bool:
    """Whether a search is slower than it need be, by a share that is worth a new graph."""
    shape, graphs = version.shape, 0
    aside = 0  # deleted in a graph, or outside of graphs
    for segment, part in zip(version.segments, version.parts, strict=True):
        graphs += len(segment) if segment.has_graph else 0
        aside += len(segment) - part.count if segment.has_graph else part.count
    if not graphs:
        return len(version) > shape.exact_below
    return aside > MERGE_SHARE * graphs or len(version.segments) > MOST_SEGMENTS


def merged(version: Version) -> Segment:
    """All rows that are not deleted, in one segment."""
    builder = SegmentBuilder(version.shape, expected=len(version))
    for segment, deleted in zip(version.segments, version.deleted, strict=True):
        builder.extend(segment, alive_rows(segment, deleted))
    return builder.finish()


def rebased(made_of: Version, now: Version) -> tuple[Mask, list[Segment], list[Mask | None]] | None:
    """What a merged segment is worth in a version that came after the one that it was made of.

    Returns:
        Which of the merged rows are deleted by now; the segments that came since, with their
        deleted rows. None where nothing is left of what was merged.
    """
    there = {
        segment.name: deleted for segment, deleted in zip(now.segments, now.deleted, strict=True)
    }
    if not any(segment.name in there for segment in made_of.segments):
        return None
    masks = [np.zeros(0, np.bool_)]
    for segment, deleted in zip(made_of.segments, made_of.deleted, strict=True):
        rows = alive_rows(segment, deleted)
        if segment.name in there:
            gone = there[segment.name]
            masks.append(np.zeros(len(rows), np.bool_) if gone is None else gone[rows])
        else:  # a newer segment holds what was still alive of it
            masks.append(np.ones(len(rows), np.bool_))
    old = {segment.name for segment in made_of.segments}
    newer = [
        (segment, deleted)
        for segment, deleted in zip(now.segments, now.deleted, strict=True)
        if segment.name not in old
    ]
    return np.concatenate(masks), [each for each, _ in newer], [mask for _, mask in newer]
