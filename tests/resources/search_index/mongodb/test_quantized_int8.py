"""int8 vectors in an index that makes bits of them: allowed where the deployment takes it."""

from typing import Any

import pytest

from resources.core.errors import SearchIndexError
from resources.mongodb import deployment
from resources.search_index.mongodb import engine as engine_module
from resources.search_index.query import Query
from tests.resources.search_index.mongodb.bench import COUNT, vector

BINARY: dict[str, Any] = {"quantization": "binary", "similarity": "cosine"}


@pytest.fixture
def atlas(bench, monkeypatch: pytest.MonkeyPatch):
    """The stand-in under a host's name of Atlas."""
    monkeypatch.setattr(deployment, "is_atlas", lambda client: True)
    monkeypatch.setattr(engine_module, "is_atlas", lambda client: True)
    bench.node.int8_too = True
    bench.store = bench.open(dtype="int8")
    bench.fill()
    return bench


def test_on_atlas_they_are_indexed_found_and_none_is_missed(atlas):
    engine: Any = atlas.engine(**BINARY)
    engine._declared.check_deployment(atlas.client, atlas.database, "int8")
    report = engine.reconcile(atlas.lines.append)
    assert report.indexed == COUNT
    main, _, _ = atlas.store.format.fields(vector(5)[None])
    assert engine.serve().nearest(main[0], Query(limit=1))[0].id == 5
    assert engine.coverage().why == ""


def test_elsewhere_they_are_missed_and_said_to_be(bench):
    bench.store = bench.open(dtype="int8")
    bench.fill()
    engine: Any = bench.engine(**BINARY)
    with pytest.raises(
        SearchIndexError, match=r"`dtype: int8`, which Atlas takes.*mongod .*remove `quantization`"
    ):
        engine._declared.check_deployment(bench.client, bench.database, "int8")
    engine._declared.check_deployment(bench.client, bench.database, "float32")
    engine.reconcile(bench.lines.append)
    found = engine.coverage()
    assert (found.stored, found.indexed) == (COUNT, 0)
    assert "int8 in an index that quantizes floats" in found.why


def test_the_local_engine_quantizes_nothing(bench):
    for settings in ({"engine": "local"}, {"engine": "auto"}):
        bench.node.enabled = False
        engine: Any = bench.engine(**settings, **BINARY)
        engine._declared.check_deployment(bench.client, bench.database, "int8")
    bench.node.enabled = True
    with pytest.raises(SearchIndexError, match="remove `quantization`"):
        engine._declared.check_deployment(bench.client, bench.database, "int8")
