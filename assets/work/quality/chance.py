"""Whether figures changed by more than chance: query by query, against those before."""

import numpy as np

from assets.work.opened import Opened
from resources.core.errors import BatchStoreError
from resources.evaluation.measures import Difference, difference
from resources.registry.evaluations import Evaluation


def by_chance(o: Opened, before: Evaluation, now: Evaluation) -> dict[str, Difference]:
    """The paired test of each measure, by its name; of none whose rankings are not kept any more.

    Args:
        o: The pipeline.
        before: Of the same queries.
        now: What is compared with it.
    """
    found = {}
    for name in now.measures:
        try:
            then, these = (o.batches.rankings.measures(o.name, e.id, name) for e in (before, now))
        except BatchStoreError:
            return {}
        both = sorted(then.keys() & these.keys())
        if both:
            found[name] = difference(*(np.array([of[q] for q in both]) for of in (then, these)))
    return found
