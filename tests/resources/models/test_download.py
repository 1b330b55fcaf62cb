"""A model that has to be fetched: said beforehand, told while it comes, silent once it is here."""

from pathlib import Path

import pytest

from resources.core import progress
from resources.core.progress import voiced
from resources.models.model_folder import find_model
from tests.hub import hub


@pytest.fixture
def nearby(static_model, tmp_path, monkeypatch):
    """The hub that this process knows is one of ours, its cache an empty folder."""
    from huggingface_hub import constants

    with hub("acme/tiny", Path(static_model), bytes_per_second=20e6) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 20)  # the model is a small one
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )  # fmt: skip
        yield


def test_a_download_says_how_much_and_how_far(nearby, monkeypatch, capfd):
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.05)
    lines: list[str] = []
    with voiced(lines.append):
        found = find_model("acme/tiny")
    assert found.origin == "model hub"
    assert lines[0].startswith("downloading acme/tiny from the model hub: 8.5 MB in 5 files")
    assert any("of acme/tiny downloaded (" in line and "left" in line for line in lines[1:])
    assert "of acme/tiny downloaded in " in lines[-1]
    assert capfd.readouterr() == ("", ""), "no bar is drawn into a pipe"
    lines.clear()
    with voiced(lines.append):
        assert find_model("acme/tiny") == found
    assert lines == []
