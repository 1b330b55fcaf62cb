"""Where documents and judged queries lie: of whole runs, whatever the vectors are stored as."""

import base64
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from assets.report import landscape as told
from assets.work.opened import Opened
from assets.work.quality.landscape import landscape
from pipelines.framework.catalog import open_pipeline
from resources.core.errors import BatchStoreError
from resources.core.keys import key
from resources.evaluation import landscape as pictured
from resources.evaluation.pictures.drawing import LARGEST
from resources.evaluation.space import Landscape
from resources.evaluation.space_page import sections
from resources.vector_store import drawn
from tests.assets.test_search_quality import DOCUMENTS, QUERIES, write_queries
from tests.resources.evaluation.pictures.test_pictures import decoded
from tests.workshop import Workshop

BITS = {
    "vector_store": {"dtype": "packed_bit"},
    "search_index": {"similarity": "euclidean"},
    "source": {"chunking": {"recursive": {"size": 12, "overlap": 0}}},
}
PICTURES = ["quality over runs", "quality against bytes", "quality by segment", told.PICTURE]


@pytest.fixture(
    scope="module",
    params=["float32", pytest.param("chunks of bits", marks=pytest.mark.proof)],
)
def shop(request, tmp_path_factory, static_model: str, _servers: Any) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("landscape")
    name = f"test_{secrets.token_hex(6)}"
    made = Workshop(folder, _servers.uri("mongod"), name, static_model)
    # Two of one text, which are near-duplicates of each other and of nothing else.
    made.write([*DOCUMENTS, {**DOCUMENTS[3], "_id": 99}])
    more = BITS if request.param != "float32" else {}
    made.configure({"evaluation": {**write_queries(folder, QUERIES), "segments": ["kind"]}, **more})
    made.first = made.run()  # type: ignore[attr-defined]
    assert made.first.success, made.first.failures  # type: ignore[attr-defined]
    yield made
    made.client.drop_database(name)
    made.client.close()


@pytest.fixture
def o(shop: Workshop) -> Iterator[Opened]:
    with open_pipeline(shop.pipeline, run="a test") as opened:
        yield opened


def latest(o: Opened) -> str:
    found = o.registry.evaluations.latest(o.name)
    assert found is not None
    return found.id


def test_a_run_shows_its_pictures(shop):
    found = shop.first.search_quality
    for name in PICTURES:
        if name not in found:  # of bits there are no other formats to compare with
            assert (name, shop.first.search_quality["stored as"]) == (PICTURES[1], "packed_bit")
            continue
        png = base64.b64decode(found[name].partition("base64,")[2].rstrip(")"))
        assert len(png) <= LARGEST
        decoded(png)
    pairs = [row.data for row in found["near duplicates"].records]
    assert any({row["document"], row["and"]} == {"3", "99"} for row in pairs) or len(pairs) == 20
    assert found["pairs of similarity 0.95 or more"] >= 1
    assert len(found["outliers"].records) == told.OUTLIERS
    assert found["documents that some query finds in its ten best"] <= len(DOCUMENTS) + 1


def test_it_is_the_same_every_time(o):
    one, other = landscape(o, latest(o)), landscape(o, latest(o))
    assert np.array_equal(one.places, other.places)
    assert (one.groups, one.around, one.hubness) == (other.groups, other.around, other.hubness)
    assert told.told(one).keys() == told.told(other).keys()
    assert {key(each) for each in one.sample.sources} == {
        key(each["_id"]) for each in [*DOCUMENTS, {"_id": 99}]
    }
    assert set(one.groups) == {"even", "odd"}
    assert one.hubness.queries == len(QUERIES)
    assert one.hubness.documents == len(DOCUMENTS) + 1


def test_the_nearest_of_a_query_is_what_comparing_with_all_finds(o, monkeypatch):
    seen: dict[str, tuple[float, Any]] = {}
    real = drawn.nearest

    def noted(store: Any, space: str, asked: Any) -> Any:
        found = real(store, space, asked)
        seen.update({name: (found[name][0], asked[name][0]) for name in found})
        return found

    monkeypatch.setattr("assets.work.quality.landscape.nearest", noted)
    found = landscape(o, latest(o))
    rows = pictured.unit(found.sample.vectors)
    assert len(seen) == len(QUERIES)
    for similarity, vector in seen.values():
        best = float((rows @ pictured.unit(vector[None])[0]).max())
        assert similarity <= best + 1e-5
    assert sum(abs(s - float((rows @ pictured.unit(v[None])[0]).max())) < 1e-5
               for s, v in seen.values()) > len(QUERIES) / 2  # fmt: skip


def test_a_smaller_sample_is_drawn_by_content(o, monkeypatch):
    monkeypatch.setattr("assets.work.quality.landscape.SAMPLE", 7)
    found = landscape(o, latest(o))
    assert len(found.sample) == 7
    assert found.stored > 7
    name = f"{o.store.lineage_path}.text_hash"
    rows = list(o.store.collection.find({}, {name: 1}))
    hashes = sorted(drawn.at_path(row, name) for row in rows)
    mine = {key(each) for each in found.sample.ids}
    of = {drawn.at_path(row, name) for row in rows if key(row["_id"]) in mine}
    assert of == set(hashes[:7])


def test_it_is_told_on_a_page_too(o):
    found = landscape(o, latest(o))
    titles = [section.title for section in sections(found, "now") if section.parts]
    assert titles[0] == "Picture of the space, now"
    assert "Near-duplicates, now" in titles


def test_what_is_not_kept_any_more_costs_the_pictures_only(o):
    with pytest.raises(BatchStoreError):
        landscape(o, "20260101T000000-gone")
    said = told.space(o, "20260101T000000-gone")
    assert said[told.PICTURE].value.startswith("left out: what evaluation")


def test_of_what_is_not_there_nothing_is_told():
    empty = pictured.Sample(np.zeros((0, 4), np.float32), [], [], [])
    around = pictured.surroundings(empty)
    from resources.evaluation.hubs import hubness
    from resources.evaluation.space import Loneliest, seen

    found: Landscape = seen(empty, 0, around, Loneliest(None), hubness([], 0), {})
    assert told.told(found)["vectors in the picture"] == 0
    assert [section.title for section in sections(found) if section.parts] == []
