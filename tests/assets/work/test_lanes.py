"""Where a run builds a space: in nobody's place."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from assets.work.lanes import lanes
from resources.core.store_key import StoreKey
from resources.model_change.resource import ModelChangeResource
from resources.registry.pipeline_spaces import PipelineRecord, SpaceEntry

NAMES = ["a", "b", "c", "d"]
GONE = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def records(draw: st.DrawFn) -> PipelineRecord:
    """Spaces at any places, one of which serves; of those that are retired, some are gone."""
    spaces = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1)):
        live = {each.place for each in spaces.values() if not each.retired}
        place = draw(st.sampled_from(["", *NAMES, *(f"{each}-2" for each in NAMES)]))
        retired = place in live or draw(st.booleans())
        cleared = GONE if retired and draw(st.booleans()) else None
        spaces[name] = SpaceEntry(name, place, retired=retired, cleared=cleared)
    live = [name for name, each in spaces.items() if not each.retired]
    serving = draw(st.sampled_from(live)) if live else None
    store = StoreKey("shop", "vectors", "embedding")
    return PipelineRecord("films", store, serving, None, 1, spaces)


@given(record=records(), wanted=st.sampled_from(NAMES))
def test_it_is_built_where_nothing_of_another_space_is(record: PipelineRecord, wanted: str):
    place = lanes(record, {wanted}, ModelChangeResource()).candidate
    if record.serving in (None, wanted):
        assert place is None
        return
    others = [each for each in record.entries() if each.place == place]
    assert place is not None
    known = record.entry(wanted)
    if known is not None and not known.retired:
        assert place == known.place
    elif known is not None and not known.cleared and record.at(known.place) is None:
        assert place == known.place, "what is left of it would lie there for ever"
    else:
        assert all(each.retired and each.cleared for each in others)
    assert record.serving not in [each.space_id for each in others]
