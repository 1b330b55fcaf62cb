"""Models that their maker is giving up, by what the catalogue says of them."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from resources.core.space import EmbeddingSpace
from resources.models import lifecycle
from resources.models.catalogue import VARIABLE, find, load_catalogue

MODELS = {
    "voyage/old": {"dimensions": [8], "status": "legacy", "successor": "older"},
    "voyage/older": {"dimensions": [8], "status": "deprecated", "successor": "voyage-4-lite"},
    "voyage/gone": {"dimensions": [8], "retired": "2020-01-01", "successor": "gone"},
    "voyage/one": {"dimensions": [8], "space": "both", "status": "legacy"},
    "voyage/two": {"dimensions": [8], "space": "both"},
}


@pytest.fixture
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"models": MODELS}), "utf-8")
    monkeypatch.setenv(VARIABLE, str(file))


def test_a_status_follows_the_dates_that_were_announced():
    entry = find("voyage", "voyage-3.5")
    assert entry
    assert entry.state(date(2026, 11, 27)) == "legacy"
    assert entry.state(date(2027, 5, 31)) == "legacy"
    assert entry.state(date(2027, 6, 1)) == "deprecated"
    assert entry.state(date(2027, 12, 1)) == "retired"


def test_every_date_comes_in_the_order_of_a_models_life():
    for entry in load_catalogue().values():
        assert (entry.deprecated or "") <= (entry.retired or "9"), entry.key
        if entry.status == "active":
            assert not entry.successor, entry.key


@pytest.mark.usefixtures("_own")
def test_the_successor_is_the_one_that_is_still_active():
    old = lifecycle.outdated("voyage", "old")
    assert old
    assert old.successor
    assert (old.state, old.successor.model) == ("legacy", "voyage-4-lite")
    gone = lifecycle.outdated("voyage", "gone")
    assert gone
    assert (gone.state, gone.successor, gone.way_out("p")) == ("retired", None, "")
    assert str(gone) == "gone is retired since 2020-01-01"
    assert lifecycle.outdated("voyage", "voyage-4") is None
    assert lifecycle.outdated("voyage", "nobody knows it") is None


@pytest.mark.usefixtures("_own")
def test_a_family_is_outdated_when_all_of_it_is():
    both = EmbeddingSpace("voyage", "both", "", 8, "", normalized=True)
    assert lifecycle.outdated_space(both) is None
    assert lifecycle.outdated_space(both, "one") is not None
    assert lifecycle.outdated_space(both, "two") is None
    old = EmbeddingSpace("voyage", "old", "", 8, "", normalized=True)
    assert lifecycle.outdated_space(old) is not None
    assert lifecycle.outdated_space(EmbeddingSpace("x", "y", "", 8, "", normalized=True)) is None


def test_the_way_out_names_a_fragment_that_is_there_or_what_to_write():
    large = lifecycle.outdated("voyage", "voyage-3-large")
    assert large
    assert "`embeddings run films -c embedder/voyage.yaml`" in large.way_out("films")
    lite = lifecycle.outdated("voyage", "voyage-3.5-lite")
    assert lite
    said = lite.way_out("films")
    content = yaml.safe_load(said.split("with `")[1].split("`")[0])
    provider = content["resources"]["embedder"]["config"]["provider"]
    assert provider == {"voyage": {"model": "voyage-4-lite"}}
