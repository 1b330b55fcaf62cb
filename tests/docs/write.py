"""`make docs`: the pages of docs/ that are made from the code."""

from collections.abc import Callable, Mapping
from pathlib import Path

from resources.core.paths import CODE_ROOT
from tests.docs.commands import commands_page
from tests.docs.settings import settings_page

PAGES: Mapping[Path, Callable[[], str]] = {
    CODE_ROOT / "docs" / "settings.md": settings_page,
    CODE_ROOT / "docs" / "commands.md": commands_page,
}

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page(), "utf-8")
