"""A query set is the same in whatever order its queries come: so are its figures, to the bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.evaluation.measures import difference, interval

VALUES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)


@settings(max_examples=25)
@given(pairs=VALUES, draw=st.randoms(use_true_random=False))
def test_intervals_and_differences_do_not_go_by_the_order(pairs, draw):
    shuffled = draw.sample(pairs, len(pairs))
    one, other = np.array(pairs), np.array(shuffled)
    assert interval(one[:, 0]) == interval(other[:, 0])
    assert difference(one[:, 0], one[:, 1]) == difference(other[:, 0], other[:, 1])
