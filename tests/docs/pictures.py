"""`make pictures`: the pictures of docs/, taken by Chromium from a quickstart that really ran.

Everything is started afresh in a folder of its own: a run, Dagster's webserver, `embeddings serve`.
"""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from resources.core.paths import CODE_ROOT
from resources.mongodb import embedded
from tests.servers import free_port
from tests.test_ui import ARGUMENTS, ASSETS, CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

DOCS = CODE_ROOT / "docs"
LARGEST = 200_000
"""Bytes of a picture: a README is read on slow lines too."""
PATIENCE = 300_000  # milliseconds
QUESTION = "my bike tyre keeps losing air"
BY_WORDS = "resources: {search_index: {config: {text: {tokenizer: porter}}}}"


def main() -> None:
    if CHROMIUM is None or not importlib.util.find_spec("playwright"):
        sys.exit("pictures are taken by Chromium through playwright: install both, and try again")
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        environment = _environment(Path(folder))
        try:
            words = Path(folder) / "words.yaml"
            words.write_text(BY_WORDS, "utf-8")
            _call("embeddings", "run", "quickstart", "-c", str(words), env=environment)
            with _dagster(environment) as dagster, _search(environment, dagster, words) as page:
                _take(dagster, page)
        finally:
            embedded.stop(Path(folder) / "state" / "mongodb")


def _environment(folder: Path) -> Mapping[str, str]:
    """Without keys, and apart from whatever runs on this machine."""
    keys = ("MONGODB_URI", "VOYAGE_API_KEY", "OPENAI_API_KEY", "EMBEDDINGS_CONFIGS")
    inherited = {name: value for name, value in os.environ.items() if name not in keys}
    home = folder / "dagster"
    home.mkdir()
    return inherited | {
        "DAGSTER_HOME": str(home),
        "EMBEDDINGS_HOME": str(folder / "state"),
        "PYTHONPATH": str(CODE_ROOT),
        "NO_PROXY": "127.0.0.1",
    }


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _call(name: str, *arguments: str, env: Mapping[str, str]) -> None:
    subprocess.run([_script(name), *arguments], cwd=CODE_ROOT, env=env, check=True)


@contextlib.contextmanager
def _serving(command: list[str], url: str, env: Mapping[str, str]) -> Iterator[str]:
    """A server that answers under its address, ended afterwards."""
    process = subprocess.Popen(command, cwd=CODE_ROOT, env=env, stdout=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        until = time.monotonic() + PATIENCE / 1000
        while True:
            with contextlib.suppress(OSError), opener.open(url, timeout=5):
                break
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{command[0]} does not answer under {url}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _dagster(env: Mapping[str, str]) -> contextlib.AbstractContextManager[str]:
    port = free_port()
    arguments = ["-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    command = [_script("dagster-webserver"), *arguments]
    return _serving(command, f"http://127.0.0.1:{port}", env)


def _search(
    env: Mapping[str, str], dagster: str, config: Path
) -> contextlib.AbstractContextManager[str]:
    port = free_port()
    options = ["--port", str(port), "--dagster-url", dagster, "-c", str(config)]
    command = [_script("embeddings"), "serve", *options]
    return _serving(command, f"http://127.0.0.1:{port}", env)


def _take(dagster: str, search: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(color_scheme="light", device_scale_factor=1.5)
        context.set_default_timeout(PATIENCE)
        _asset_graph(context, dagster)
        _asset_page(context, dagster)
        _quality_page(context, dagster)
        _search_page(context, search)
        browser.close()


def _opened(context: "BrowserContext", url: str, width: int, height: int) -> "Page":
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    # Dagster's own greeting covers the page at some point of the first visit.
    page.add_locator_handler(
        page.get_by_text("Join the Dagster community"),
        lambda: page.get_by_role("button", name="Skip").click(),
    )
    page.goto(url)
    return page


def _asset_graph(context: "BrowserContext", dagster: str) -> None:
    url = f"{dagster}/locations/quickstart/asset-groups/quickstart/lineage"
    page = _opened(context, url, 1560, 480)  # boxes that say more than their names
    page.get_by_text("Hide navigation").click()
    page.reload()  # the graph takes the room that there is now
    for asset in ASSETS:
        node = page.locator("svg foreignObject").filter(has_text=asset)
        node.get_by_text("Materialized", exact=True).wait_for()
    _save(page, "asset-graph.png")


def _asset_page(context: "BrowserContext", dagster: str) -> None:
    page = _opened(context, f"{dagster}/assets/quickstart/stored_vectors", 1240, 1400)
    page.get_by_role("cell", name="vectors stored", exact=True).first.wait_for()
    _save(page, "asset-page.png")


def _quality_page(context: "BrowserContext", dagster: str) -> None:
    page = _opened(context, f"{dagster}/assets/quickstart/search_quality", 1240, 760)
    picture = "quality by segment"
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=picture, exact=True))
    row.get_by_text("[Show Markdown]").click()
    page.get_by_role("img", name=picture).wait_for()
    _save(page, "search-quality.png")


def _search_page(context: "BrowserContext", search: str) -> None:
    page = _opened(context, search, 1000, 700)
    page.get_by_role("searchbox").or_(page.get_by_role("textbox")).first.fill(QUESTION)
    page.keyboard.press("Enter")  # the first question loads the model
    page.get_by_text("howto-find-slow-puncture").first.wait_for()
    page.get_by_role("radio", name="Hybrid").check()
    page.get_by_role("button", name="Search").click()
    page.wait_for_load_state("networkidle")
    page.get_by_text("howto-find-slow-puncture").first.wait_for()
    _save(page, "search-page.png")


def _save(page: "Page", name: str) -> None:
    """As a palette, a third of the size: a page of text has few colours."""
    from PIL import Image

    page.wait_for_timeout(500)  # until what moves has come to rest
    path, picture = DOCS / name, Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64):
        picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            return
    sys.exit(f"{path} has {path.stat().st_size:,} bytes, more than {LARGEST:,}: show less")


if __name__ == "__main__":
    main()
