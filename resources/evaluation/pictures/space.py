"""The map of a landscape, with what is to be seen on it."""

import numpy as np

from resources.evaluation.pictures.landscape import landscape
from resources.evaluation.space import Landscape

LONELY = "queries that nothing lies near"


def space_png(found: Landscape) -> bytes:
    """A PNG.

    Raises:
        EvaluationError: Matplotlib is not installed.
    """
    shown = len(found.sample)
    some = f" of {found.stored:,}" if shown < found.stored else ""
    return landscape(
        found.places,
        found.groups,
        {LONELY: np.array([each.place for each in found.lonely]).reshape(-1, 2)},
        found.by or "clusters, by their words",
        f"{shown:,}{some} vectors, by {found.method}: near means alike, as far as a map can show",
    )
