import sys
from collections.abc import Iterator

import pytest

from resources.mongodb import embedded
from tests import servers
from tests.pipelines.helpers import (
    DOCUMENTS,
    KEYS,
    SHOP,
    Place,
    corpus_settings,
    succeeds,
    write_jsonl,
    write_pipeline,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, static_model: str) -> Iterator[Place]:
    if servers.secantus() is None:
        pytest.skip("no embedded server: pip install '.[embedded]'")
    found = Place(tmp_path_factory.mktemp("cli"))
    write_jsonl(found.source, DOCUMENTS)
    settings = corpus_settings(found.source, static_model, database="shop")
    configs = [found.config("shop", **settings), "mongodb/embedded.yaml"]
    write_pipeline(found.folder / "cli_pipelines", "shop", configs)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(found.folder)
        patch.setenv("EMBEDDINGS_HOME", str(found.folder / "state"))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        for name in (*KEYS, "DAGSTER_HOME"):
            patch.setenv(name, "")  # so that what a command sets is undone too
            patch.delenv(name)
        yield found
        for name in (SHOP, SHOP.split(".")[0]):
            sys.modules.pop(name, None)
        embedded.stop(found.folder / "state" / "mongodb")


@pytest.fixture(scope="module")
def first_run(place: Place) -> str:
    """What the first `embeddings run` prints; tests that search rest on it."""
    return succeeds("run", SHOP)
