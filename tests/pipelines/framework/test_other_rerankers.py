"""Rerankers of other packages: found by their entry point, used like ours, refused by name."""

import secrets

import pymongo

from resources.models.kinds import EMBEDDERS, RERANKERS
from tests.pipelines.framework.test_other_providers import ACME, install, python, site

__all__ = ["site"]  # a fixture

SHORTEST = '''
from typing import Literal

from resources.rerankers.base import Scored, TextReranker
from resources.rerankers.facts import Facts
from resources.rerankers.provider import RerankerProvider


class Shortest(RerankerProvider):
    """The shortest text first."""

    kind: Literal["shortest"] = "shortest"
    factor: float = 1.0

    def facts(self):
        return Facts("shortest", "letters", 1000.0)

    def open(self, stored=None, meter=None):
        return ShortestReranker(self, meter)


class ShortestReranker(TextReranker):
    def __init__(self, provider, meter):
        super().__init__(provider.facts())
        self._factor, self._meter = provider.factor, meter

    def score(self, query, candidates):
        if self._meter is not None:
            self._meter.add(texts=len(candidates), tokens=100, estimate=100)
        return Scored([-self._factor * len(each.text) for each in candidates], 100)
'''

USED = """
from pathlib import Path

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.doctor import examine
from resources.rerankers.base import Candidate
from tests.workshop import Workshop

folder, uri, database, model = sys.argv[1:]
shop = Workshop(Path(folder), uri, database, model)
shop.configure({"rerank": {"provider": {"shortest": {"factor": 2.0}}, "candidates": 7}})
shop.write([{"_id": "a", "text": "some words"}])
run = shop.run()
with open_pipeline(shop.pipeline) as opened:
    reranker = opened.open_reranker()
    asked = [Candidate(1, "longer"), Candidate(2, None), Candidate(3, "short")]
    ranking = reranker.scores("q", asked)
with open_pipeline(shop.pipeline) as opened:
    (spent,) = opened.registry.reranked.spend()
found = {
    "run": [run.success, *run.failures],
    "scores": ranking.scores,
    "order": ranking.order(),
    "spent": [spent.model, spent.tokens, spent.cost_usd],
    "doctor": [[f.state, f.text] for f in examine(shop.pipeline) if f.topic == "reranker"],
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
from resources.rerankers.resource import RerankResource

def said(kind):
    file = Path(sys.argv[1], f"{kind}.yaml")
    config = {"provider": {kind: {"anything": 1}}}
    file.write_text(yaml.safe_dump({"resources": {"rerank": {"config": config}}}))
    try:
        resource_values([file], RESOURCES)
    except ConfigurationError as error:
        return str(error).partition(f": resources.rerank.config.provider.{kind}: ")[2]

pipeline.definitions()
launched = RerankResource(provider={"broken": {"anything": 1}})
try:
    launched.open()
except ConfigurationError as error:
    launchpad = str(error)
found = {
    "said": {kind: said(kind) for kind in sys.argv[2:]},
    "voyage": RerankResource(provider={"voyage": {"api_key": "k"}}).facts().model,
    "doctor": [[f.state, f.text] for f in examine(None) if f.topic == "reranker"],
    "launchpad": launchpad,
}
"""


def test_a_package_adds_a_reranker_that_searches_can_use(tmp_path, site, mongod_uri, static_model):
    name, module = "shortest-reranker", "shortest_module"
    install(site, name, "shortest", module, SHORTEST, "Shortest", RERANKERS)
    database = f"test_{secrets.token_hex(6)}"
    try:
        found = python(USED, site, str(tmp_path), mongod_uri, database, static_model)
    finally:
        with pymongo.MongoClient(mongod_uri) as client:
            client.drop_database(database)
    assert found == {
        "run": [True],
        "scores": [-12.0, None, -10.0],
        "order": [2, 0, 1],
        "spent": ["letters", 100, 0.1],
        "doctor": [
            ["ok", "shortest of shortest-reranker 1.0"],
            ["ok", "shortest reranker letters"],
        ],
    }


def test_a_reranker_that_cannot_be_used_is_refused_by_name_where_it_is_chosen(tmp_path, site):
    broken = "import a_module_that_is_not_there\n"
    install(site, "broken-package", "broken", "broken_module", broken, "Broken", RERANKERS)
    install(site, "acme-package", "acme", "acme_module", ACME, "AcmeProvider", RERANKERS)
    ours = SHORTEST.replace('"shortest"', '"voyage"')
    install(site, "cuckoo-package", "voyage", "cuckoo_module", ours, "Shortest", RERANKERS)
    expected = {
        "broken": "reranker 'broken' of package broken-package (broken_module:Broken) cannot be "
        "imported: ModuleNotFoundError: No module named 'a_module_that_is_not_there'; repair that "
        "package or uninstall it",
        "acme": "reranker 'acme' of package acme-package (acme_module:AcmeProvider) is not a "
        "resources.rerankers.provider.RerankerProvider: repair that package or uninstall it",
    }
    found = python(REFUSED, site, str(tmp_path), *expected)
    assert found["said"] == expected
    assert found["launchpad"] == expected["broken"]
    assert found["voyage"] == "rerank-2.5"
    cuckoo = (
        "reranker 'voyage' comes with the project: the one of package cuckoo-package is not used, "
        "it needs a kind of its own"
    )
    assert sorted(found["doctor"]) == sorted(
        ["note", reason] for reason in [*expected.values(), cuckoo]
    )


def test_the_two_groups_do_not_mix():
    assert EMBEDDERS.group != RERANKERS.group
    assert RERANKERS.all()[:1] == ("none",)
