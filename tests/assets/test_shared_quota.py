"""A pipeline that shares a provider's quota with others, as its runs keep it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.core.errors import ConfigurationError
from tests.providers.voyage import VoyageServer
from tests.workshop import Workshop


@pytest.fixture
def workshop(
    tmp_path: Path, mongod_uri: str, static_model: str, voyage_api: VoyageServer, monkeypatch
) -> Iterator[Workshop]:
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    made = Workshop(tmp_path, mongod_uri, f"test_{tmp_path.name}", static_model)
    provider = {"base_url": voyage_api.url, "api_key": {"env": "VOYAGE_API_KEY"}}
    made.configure({"embedder": {"provider": {"voyage": provider | {"dimensions": 256}}}})
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def test_a_run_reserves_before_it_sends_and_reports_what_was_billed(
    workshop: Workshop, voyage_api: VoyageServer
):
    quota = {"name": "account", "requests_per_minute": 2_000, "tokens_per_minute": 40_000}
    workshop.configure({"embedder": {"quota": quota}})
    workshop.write([{"_id": n, "text": f"text number {n} " * 9, "kind": "t"} for n in range(60)])
    assert workshop.run().success
    # A request holds a twentieth of a minute's tokens at most, as estimated.
    assert len(voyage_api.requests) >= 2
    assert max(call.tokens for call in voyage_api.requests) <= 2_000
    found = workshop.client[workshop.database]["provider_quotas"].find_one({"_id": "account"})
    assert found is not None
    requests, tokens = (sum(side) for side in zip(*found["slots"].values(), strict=True))
    assert (requests, tokens) == (len(voyage_api.requests), voyage_api.tokens_billed)


def test_a_quota_that_limits_nothing_is_refused(workshop: Workshop):
    workshop.configure({"embedder": {"quota": {"name": "account"}}})
    workshop.write([{"_id": 1, "text": "one", "kind": "t"}])
    with pytest.raises(ConfigurationError, match="'account' limits nothing: give it `requests_per"):
        workshop.run("source_documents")


def test_a_model_that_runs_here_has_no_quota_to_keep(workshop: Workshop):
    local = {"sentence_transformers": {"model": workshop.model}}
    quota = {"name": "account", "requests_per_minute": 1}
    workshop.configure({"embedder": {"provider": local, "quota": quota}})
    workshop.write([{"_id": n, "text": f"text {n}", "kind": "t"} for n in range(5)])
    assert workshop.run().success
    assert not workshop.client[workshop.database]["provider_quotas"].count_documents({})
