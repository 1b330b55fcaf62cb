"""A pipeline whose server says nothing, beside one that answers: real searchers, real sockets."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.framework.modules import Declared
from pipelines.serving.offered import Offered
from tests.killing import CutProxy
from tests.pipelines.helpers import MOTH
from tests.pipelines.serving.site import Site, serving
from tests.workshop import Workshop


class SilentProxy(CutProxy):
    """Takes connections, and says nothing before it is told to."""

    def __init__(self, port: int) -> None:
        self.speaks = threading.Event()
        super().__init__(port)

    def _accept(self) -> None:
        self.speaks.wait()
        super()._accept()


@pytest.fixture
def silent(workshops: list[Workshop]) -> Iterator[SilentProxy]:
    proxy = SilentProxy(urlsplit(workshops[0].uri).port or 27017)
    yield proxy
    proxy.speaks.set()
    proxy.close()


@pytest.fixture
def site_with_both(
    workshops: list[Workshop], silent: SilentProxy, tmp_path: Path
) -> Iterator[Site]:
    """`films`, and `far`: the same behind the proxy."""
    films = workshops[0]
    far = Workshop(tmp_path, films.uri, films.database, films.model, "films")
    uri = f"mongodb://127.0.0.1:{silent.port}/?directConnection=true"
    far.configure(
        {
            "source": films.settings["source"],
            "mongodb": {"deployment": {"server": {"uri": uri}}, "timeout_seconds": 300},
            "batch_store": films.settings["batch_store"],
        }
    )
    far.client.close()
    found = {"films": films.pipeline, "far": far.pipeline}
    declared = [Declared(name, pipeline=pipeline) for name, pipeline in found.items()]
    with serving(Offered(declared=lambda: declared)) as site:
        yield site


def test_a_server_that_says_nothing_keeps_no_other_pipeline_waiting(
    site_with_both: Site, silent: SilentProxy
):
    site = site_with_both
    with ThreadPoolExecutor(4) as pool:
        try:
            far = [
                pool.submit(site.searched, pipeline="far", query=MOTH, limit=1) for _ in range(4)
            ]
            # Not opened yet either: even that waits for nobody else.
            for _ in range(3):
                assert site.searched(pipeline="films", query=MOTH, limit=1)[0]["id"] == "moth"
            assert site.get("/pipelines/films").status == 200
            assert not any(each.done() for each in far)
        finally:
            silent.speaks.set()
        assert [each.result(120)[0]["id"] for each in far] == ["moth"] * 4
