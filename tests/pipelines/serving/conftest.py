import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.framework.modules import Declared
from pipelines.serving.offered import Offered
from tests import models
from tests.conftest import Servers
from tests.pipelines.helpers import DOCUMENTS
from tests.pipelines.serving.site import Site, serving
from tests.workshop import Workshop

HOSTILE = [
    {
        "_id": "<b>bold</b>",
        "text": "dragon <img src=x onerror=\"window.harmed='image'\"> dragon",
        "kind": "<svg onload=\"window.harmed='field'\">",
    },
    {
        "_id": "javascript:window.harmed='id'",
        "text": "dragon </script><script>window.harmed='script'</script> dragon",
        "kind": "nature",
    },
    {"_id": "control", "text": "dragon \u0000\u001b[31m\u202e\u2028 dragon", "kind": "nature"},
]

FAULT = "ImportError: no module named 'reviews_of' in /home/somebody/secret folder/reviews.py"


@pytest.fixture(scope="module")
def workshops(
    tmp_path_factory: pytest.TempPathFactory, _servers: Servers, static_model: str
) -> Iterator[list[Workshop]]:
    """Two pipelines over the same documents, which have been run, each with a model of its own.

    Only the first has full text; the second has another space beside the one that serves.
    """
    uri = _servers.uri("mongod")
    made = []
    folder = tmp_path_factory.mktemp("serving")
    other = str(models.build_static_model(folder / "static", seed=1))
    for name, model in (("films", static_model), ("others", other)):
        (folder / name).mkdir()
        workshop = Workshop(folder / name, uri, f"test_{secrets.token_hex(6)}", model, name)
        if name == "films":
            workshop.configure({"search_index": {"text": {}}})
        workshop.write([*DOCUMENTS, *HOSTILE])
        run = workshop.run()
        assert run.success, run.failures
        made.append(workshop)
    beside = {"provider": {"sentence_transformers": {"model": static_model}}}
    run = made[1].run(config={"resources": {"embedder": {"config": beside}}})
    assert run.success, run.failures
    yield made
    for workshop in made:
        for name in (workshop.database, f"{workshop.database}_empty"):
            workshop.client.drop_database(name)
        workshop.client.close()


@pytest.fixture(scope="module")
def offered(workshops: list[Workshop], tmp_path_factory: pytest.TempPathFactory) -> Offered:
    """Those two, a broken one, and one that nothing has been embedded for."""
    films = workshops[0]
    empty = Workshop(
        Path(tmp_path_factory.mktemp("empty")), films.uri, f"{films.database}_empty", films.model,
        "empty",
    )  # fmt: skip
    declared = [Declared(each.name, pipeline=each.pipeline) for each in (*workshops, empty)]
    empty.client.close()
    broken = Declared("reviews", FAULT)
    return Offered(declared=lambda: [*declared, broken])


@pytest.fixture(scope="module")
def site(offered: Offered) -> Iterator[Site]:
    with serving(offered) as found:
        yield found
