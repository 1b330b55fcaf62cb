"""Providers of other packages: found by their entry point, used like ours, refused by name."""

import json
import os
import secrets
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pymongo
import pytest

from resources.core.paths import CODE_ROOT
from resources.models.kinds import EMBEDDERS, Kinds

ACME = '''
from typing import Literal

import numpy as np

from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder, Embeddings, Usage
from resources.embedders.facts import Facts
from resources.embedders.provider import Provider


class AcmeProvider(Provider):
    """Counts letters."""

    kind: Literal["acme"] = "acme"
    letters: str
    model: str = "letters-1"

    def space(self):
        name = self.space_name or "letters"
        return EmbeddingSpace("acme", name, "", len(self.letters), "", normalized=True)

    def facts(self):
        return Facts.of(self.space(), self.model, usd_per_million=2.0, price_factor=0.5)

    def open(self, jobs=None, log=None, journal=None):
        return AcmeEmbedder(self)


class AcmeEmbedder(Embedder):
    def __init__(self, provider):
        super().__init__(provider.space(), provider.facts())
        self._letters = provider.letters

    def embed(self, texts, *, input_type):
        counts = [[1 + text.count(letter) for letter in self._letters] for text in texts]
        vectors = np.array(counts, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embeddings(vectors, usage=Usage(requests=1, tokens=1000 * len(texts)))
'''

RUN = """
import sys
from pathlib import Path

import pipelines.framework.pipeline
heavy = [name for name in ("torch", "openai", "voyageai", "acme_heavy") if name in sys.modules]

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.doctor import examine
from pipelines.operations.plan import dry_run
from tests.workshop import Workshop

folder, uri, database = sys.argv[1:]
shop = Workshop(Path(folder), uri, database, "none")
shop.configure(
    {"embedder": {"provider": {"acme": {"letters": "aeiot", "space": "vowels"}}, "max_cost_usd": 1}}
)
shop.write([{"_id": word, "text": word * 3, "kind": "word"} for word in ("tot", "aea", "ioi")])
dry = dry_run(shop.pipeline)
first, second = shop.run(), shop.run()
with open_pipeline(shop.pipeline) as opened:
    (spent,) = opened.registry.ledger.spend()
found = {
    "heavy": heavy,
    "dry": [dry.model, dry.estimate.texts, dry.estimate.cost_usd == dry.estimate.tokens / 1e6],
    "runs": [first.success, second.success, *first.failures, *second.failures],
    "checks": [name for name, passed in first.checks.items() if not passed],
    "embedded": [run.embedding_batches["embedded"] for run in (first, second)],
    "space": first.embedding_batches["space"],
    "cost": [first.embedding_batches["cost (USD)"], spent.cost_usd, spent.model],
    "hits": [hit.id for hit in shop.search("taeaeat", limit=2).hits],
    "doctor": [
        [f.state, f.text] for f in examine(shop.pipeline) if f.topic in ("provider", "model")
    ],
}
"""

REFUSED = """
from pathlib import Path

import yaml

from pipelines.framework.pipeline import RESOURCES
from pipelines.framework.run_config import resource_values
from pipelines.operations.doctor import examine
from pipelines.quickstart import pipeline
from resources.core.errors import ConfigurationError
from resources.embedders.resource import EmbedderResource

def said(kind):
    file = Path(sys.argv[1], f"{kind}.yaml")
    config = {"provider": {kind: {"anything": 1}}}
    file.write_text(yaml.safe_dump({"resources": {"embedder": {"config": config}}}))
    try:
        resource_values([file], RESOURCES)
    except ConfigurationError as error:
        return str(error).partition(f": resources.embedder.config.provider.{kind}: ")[2]

pipeline.definitions()
launched = EmbedderResource(provider={"broken": {"anything": 1}})
try:
    launched.space()
except ConfigurationError as error:
    launchpad = str(error)
found = {
    "said": {kind: said(kind) for kind in sys.argv[2:]},
    "voyage": EmbedderResource(provider={"voyage": {"api_key": "k"}}).space().provider,
    "doctor": [[f.state, f.text] for f in examine(None) if f.topic == "provider"],
    "launchpad": launchpad,
}
"""


def install(
    site: Path,
    name: str,
    kind: str,
    module: str,
    source: str,
    target: str,
    kinds: Kinds = EMBEDDERS,
) -> None:
    """A package as pip leaves it."""
    (site / f"{module}.py").write_text(source, "utf-8")
    metadata = site / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    entry = f"[{kinds.group}]\n{kind} = {module}:{target}\n"
    (metadata / "entry_points.txt").write_text(entry, "utf-8")


def python(code: str, site: Path, *arguments: str) -> dict[str, Any]:
    """What a process of its own finds, with the packages of `site` installed."""
    code = f"import json, sys\n{code}\nprint('FOUND', json.dumps(found), flush=True)"
    path = os.pathsep.join([str(site), str(CODE_ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=CODE_ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    return json.loads(line.removeprefix("FOUND "))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def test_a_package_adds_a_provider_that_goes_all_the_way(tmp_path, site, mongod_uri):
    install(site, "acme-embeddings", "acme", "acme_embeddings", ACME, "AcmeProvider")
    database = f"test_{secrets.token_hex(6)}"
    try:
        found = python(RUN, site, str(tmp_path), mongod_uri, database)
    finally:
        with pymongo.MongoClient(mongod_uri) as client:
            client.drop_database(database)
    assert found["heavy"] == []
    assert found["dry"] == ["letters-1", 3, True]
    assert found["runs"] == [True, True]
    assert found["checks"] == []
    assert found["embedded"] == [3, 0]
    assert found["space"].startswith("vowels-5-")
    assert found["cost"] == [pytest.approx(0.003), pytest.approx(0.003), "letters-1"]
    assert found["hits"][0] == "aea"
    assert found["doctor"] == [
        ["ok", "acme of acme-embeddings 1.0"],
        ["ok", "acme letters-1, 5 dimensions"],
    ]


def test_a_provider_that_cannot_be_used_is_refused_by_name_where_it_is_chosen(tmp_path, site):
    broken = "import a_module_that_is_not_there\n"
    install(site, "broken-package", "broken", "broken_module", broken, "Provider")
    for name in ("first", "second"):
        install(site, f"{name}-package", "twice", f"{name}_module", ACME, "AcmeProvider")
    install(site, "misnamed-package", "misnamed", "misnamed_module", ACME, "AcmeProvider")
    install(site, "number-package", "number", "number_module", "Provider = 3\n", "Provider")
    half = textwrap.dedent(
        """
        from typing import Literal
        from resources.embedders.provider import Provider as Base
        class Provider(Base):
            kind: Literal["half"] = "half"
            def space(self): ...
        """
    )
    install(site, "half-package", "half", "half_module", half, "Provider")
    ours = ACME.replace('"acme"', '"voyage"')
    install(site, "cuckoo-package", "voyage", "cuckoo_module", ours, "AcmeProvider")
    expected = {
        "broken": "provider 'broken' of package broken-package (broken_module:Provider) cannot be "
        "imported: ModuleNotFoundError: No module named 'a_module_that_is_not_there'; repair that "
        "package or uninstall it",
        "twice": "provider 'twice' is claimed by the packages first-package and second-package: "
        "uninstall all but one",
        "misnamed": "provider 'misnamed' of package misnamed-package "
        '(misnamed_module:AcmeProvider) has no field `kind: Literal["misnamed"] = "misnamed"`: '
        "repair that package or uninstall it",
        "number": "provider 'number' of package number-package (number_module:Provider) is not a "
        "resources.embedders.provider.Provider: repair that package or uninstall it",
        "half": "provider 'half' of package half-package (half_module:Provider) lacks facts, open: "
        "repair that package or uninstall it",
    }
    found = python(REFUSED, site, str(tmp_path), *expected)
    assert found["said"] == expected
    assert found["launchpad"] == expected["broken"]
    cuckoo = (
        "provider 'voyage' comes with the project: the one of package cuckoo-package is not used, "
        "it needs a kind of its own"
    )
    assert found["voyage"] == "voyage"
    assert sorted(found["doctor"]) == sorted(
        ["note", reason] for reason in [*expected.values(), cuckoo]
    )
