"""What `make install` shows of pip: how far it is, and all that pip said where it fails."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from resources.core.paths import CODE_ROOT

SCRIPT = CODE_ROOT / "tools" / "install.py"


@pytest.fixture
def told():
    # As make runs it: by its path, before anything is installed.
    found = runpy.run_path(str(SCRIPT))["Told"](520)
    yield found
    found.end()


def test_it_counts_what_pip_says(told):
    assert told._line().startswith("  0 packages found, ")
    for line in (
        "Collecting torch==2.9.1\n",
        "  Downloading torch-2.9.1-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (30 kB)\n",
        "  Downloading torch-2.9.1-cp311-cp311-manylinux_2_28_x86_64.whl (184.4 MB)\n",
        "Collecting numpy\n",
        "  Using cached numpy-2.3.5-cp311-cp311-manylinux_2_28_x86_64.whl (16.6 MB)\n",
    ):
        told.read(line)
    assert told._line().startswith("  184 MB of about 520 downloaded, 2 packages, ")
    told.read("Installing collected packages: numpy, torch\n")
    assert told._line().startswith("  unpacking 2 packages, ")


def test_what_fails_is_shown_as_pip_says_it(tmp_path: Path):
    script = [sys.executable, str(SCRIPT), "0"]
    done = subprocess.run(
        [*script, "--no-index", "--find-links", str(tmp_path), "no-such-package-of-ours"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No matching distribution found for no-such-package-of-ours" in done.stderr
    assert "installed in" not in done.stdout
