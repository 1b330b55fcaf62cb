"""The page, in Chromium: what a person does, and what a document's text must not do."""

import importlib.util
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pipelines.serving.offered import Offered
from tests.pipelines.helpers import DOCUMENTS, MOTH
from tests.pipelines.serving.conftest import HOSTILE
from tests.pipelines.serving.site import DAGSTER, Site, serving
from tests.test_ui import ARGUMENTS, CHROMIUM
from tests.workshop import Workshop

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(
        not importlib.util.find_spec("playwright"), reason="no playwright: pip install '.[test]'"
    ),
]

PATIENCE = 60_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator["Browser"]:
    """Started after the site, whose runs want this thread without playwright's event loop."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def page(browser: "Browser", site: Site) -> Iterator["Page"]:
    """At nothing yet; whatever it asks goes to the site alone, and nothing fails in silence."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    found = context.new_page()
    found.set_default_timeout(PATIENCE)
    asked: list[str] = []
    errors: list[str] = []
    found.on("request", lambda request: asked.append(request.url))
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on(
        "console",
        # What is refused is answered with a status, which Chromium notes as an error.
        lambda line: (
            errors.append(line.text)
            if line.type == "error" and "Failed to load resource" not in line.text
            else None
        ),
    )
    yield found
    assert [url for url in asked if not url.startswith((f"{site.url}/", "data:image/svg"))] == []
    assert errors == []
    context.close()


def ids(page: "Page", column: int = 0) -> list[str]:
    section = page.locator(".column").nth(column)
    section.locator(".hit").first.wait_for()
    return section.locator(".hit .id").all_inner_texts()


def ask(page: "Page", query: str) -> None:
    box = page.get_by_label("Query")
    box.fill(query)
    box.press("Enter")
    page.wait_for_selector("[aria-busy]", state="detached")


def test_a_person_types_a_query_and_sees_where_the_vectors_come_from(
    page: "Page", site: Site, workshops: list[Workshop]
):
    page.goto(site.url)
    page.get_by_text("no module named 'reviews_of'").wait_for()
    page.get_by_label("Pipeline", exact=True).select_option("films")
    ask(page, MOTH)
    assert ids(page)[0] == "moth"
    first = page.locator(".hit").first
    assert MOTH in first.inner_text()
    assert "1.0000" in first.inner_text()
    assert first.locator(".tag").inner_text() == "kind nature"
    run = workshops[0].stored()["moth"]["embedding_lineage"]["run"]
    link = first.get_by_role("link", name=f"run {run[:8]}")
    assert link.get_attribute("href") == f"{DAGSTER}/runs/{run}"
    first.locator("summary").click(position={"x": 2, "y": 5})
    assert run in first.locator("dl").inner_text()

    # The address holds it all: whoever opens it sees the same, and Back is the search before.
    shared = page.url
    ask(page, DOCUMENTS[0]["text"])
    assert ids(page)[0] == "tide"
    page.go_back()
    page.locator(".hit .id", has_text="moth").first.wait_for()
    assert page.get_by_label("Query").input_value() == MOTH
    page.goto("about:blank")
    page.goto(shared)
    assert ids(page)[0] == "moth"


def test_options_filter_and_say_what_is_wrong(page: "Page", site: Site):
    page.goto(f"{site.url}/#pipeline=films")
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="kind", exact=True).click()
    box = page.locator("#filter")
    assert box.input_value() == '{"kind":""}'
    page.keyboard.type("kitchen")
    assert box.input_value() == '{"kind":"kitchen"}'
    ask(page, MOTH)
    assert sorted(ids(page)) == ["loaf", "soup"]
    assert page.locator("#set").inner_text() == "1"

    box.fill('{"colour": 1}')
    box.press("Enter")
    page.get_by_text("The filter names 'colour'").wait_for()
    box.fill('{"kind": ')
    box.press("Enter")
    page.get_by_text("The filter is not JSON yet").wait_for()
    box.fill('{"kind": "garden"}')
    box.press("Enter")
    page.get_by_text(re.compile("Nothing found: none of the 9 indexed documents")).wait_for()


def test_exact_stands_beside_approximate_and_two_pipelines_beside_one_another(
    page: "Page", site: Site
):
    page.goto(f"{site.url}/#pipeline=films&query=moth&limit=4&compare=exact")
    assert ids(page, 0) == ids(page, 1)
    summary = page.locator(".summary").inner_text()
    assert "overlap@4 1.00" in summary
    assert page.locator(".column h2").all_inner_texts() == ["Exact", "Approximate"]

    page.get_by_role("radio", name="Two pipelines").check()
    page.get_by_label("Second pipeline").select_option("others")
    page.locator(".column h2", has_text="others").wait_for()
    page.wait_for_selector("[aria-busy]", state="detached")
    left, right = ids(page, 0), ids(page, 1)
    wanted = [
        [str(hit["id"]) for hit in site.searched(pipeline=name, query="moth", limit=4)]
        for name in ("films", "others")
    ]
    assert [left, right] == wanted
    shared = set(left) & set(right)
    summary = page.locator(".summary").inner_text()
    assert f"overlap@4 {len(shared) / 4:.2f}" in summary
    assert f"{len(shared)} of 4 documents in both" in summary
    badges = page.locator(".column").nth(1).locator(".hit .move").all_inner_texts()
    for at, (name, badge) in enumerate(zip(right, badges, strict=True)):
        if name not in left:
            assert badge == "new"
        elif (was := left.index(name)) == at:
            assert badge == "same place"
        else:
            assert badge == f"{'↑' if was > at else '↓'} {abs(was - at)}"


def test_another_space_is_asked_and_two_stand_beside_one_another(page: "Page", site: Site):
    page.goto(f"{site.url}/#pipeline=films")
    page.get_by_text("by static").wait_for()
    assert page.get_by_label("Space", exact=True).is_hidden(), "there is one"
    page.goto("about:blank")
    page.goto(f"{site.url}/#pipeline=others&query=moth&limit=4")
    serving, other = site.spaces("others")
    assert (serving["state"], other["state"]) == ("serving", "ready")
    choice = page.get_by_label("Space", exact=True)
    choice.wait_for()
    assert choice.locator("option").all_inner_texts() == [
        "whichever serves", f"{serving['id']} (serving)", f"{other['id']} (ready)",
    ]  # fmt: skip
    choice.select_option(other["id"])
    page.locator(".facts", has_text=other["id"]).first.wait_for(state="attached")
    page.locator(".about", has_text=f"__{other['id']}").wait_for()
    assert f"space={other['id']}" in page.url
    wanted = [
        [str(hit["id"]) for hit in site.searched(pipeline="others", query="moth", limit=4, **space)]
        for space in ({}, {"space": other["id"]})
    ]
    assert ids(page) == wanted[1]
    choice.select_option("")
    page.get_by_role("radio", name="Two spaces").check()
    page.locator(".column h2", has_text=other["id"]).wait_for()
    page.wait_for_selector("[aria-busy]", state="detached")
    assert [ids(page, 0), ids(page, 1)] == wanted
    assert page.locator(".column h2").all_inner_texts() == [serving["id"], other["id"]]
    shared = set(wanted[0]) & set(wanted[1])
    assert f"{len(shared)} of 4 documents in both" in page.locator(".summary").inner_text()
    # Whoever is sent the address sees the same.
    shared_url = page.url
    page.goto("about:blank")
    page.goto(shared_url)
    assert [ids(page, 0), ids(page, 1)] == wanted


def test_a_mode_is_chosen_where_the_index_has_it_and_else_says_why(page: "Page", site: Site):
    page.goto(f"{site.url}/#pipeline=films&query=porch lamp moth")
    assert ids(page)[0] == "moth"
    page.get_by_role("radio", name="Hybrid").check()
    page.locator(".hit .move", has_text="text #1").first.wait_for()
    assert ids(page)[0] == "moth"
    ranks = page.locator(".hit").first.locator(".move").all_inner_texts()
    assert sorted(ranks)[0] == "text #1"
    assert re.fullmatch(r"vector #\d", sorted(ranks)[1])
    assert page.get_by_label("Weight of text").is_hidden()
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Weight of text").wait_for()
    assert "mode=hybrid" in page.url

    page.goto("about:blank")
    page.goto(f"{site.url}/#pipeline=others")
    page.get_by_text("Text and hybrid cannot be had").wait_for()
    for mode in ("Text", "Hybrid"):
        assert page.get_by_role("radio", name=mode).is_disabled()
    assert page.get_by_role("radio", name="Vector").is_enabled()


def test_what_stands_in_a_document_does_nothing(page: "Page", site: Site):
    page.goto(f"{site.url}/#pipeline=films&query=dragon&limit=9")
    found = ids(page)
    assert {document["_id"] for document in HOSTILE} <= set(found)
    shown = page.locator("main").inner_text()
    for part in ("<img src=x onerror=", "<script>window.harmed='script'", "<svg onload="):
        assert part in shown
    page.wait_for_timeout(500)  # what an image or a script would do, it does a moment later
    assert page.evaluate("() => window.harmed") is None
    assert page.locator("main img, main script, main b:text('bold')").count() == 0
    for link in page.locator("main a").all():
        assert str(link.get_attribute("href")).startswith(DAGSTER)
    # Nor what stands in an address that somebody was sent.
    for name in (
        "query",
        "pipeline",
        "filter",
        "mode",
        "limit",
        "other",
        "compare",
        "space",
        "against",
    ):
        page.goto("about:blank")
        page.goto(f"{site.url}/#pipeline=films&{name}=%3Cimg src=x onerror=window.harmed=1%3E")
        page.locator("#pipeline:not([disabled])").wait_for()
        page.wait_for_selector("[aria-busy]", state="detached")
        assert page.evaluate("() => window.harmed") is None
        assert page.locator("img").count() == 0


def test_the_policy_stops_what_might_get_in_all_the_same(browser: "Browser", site: Site):
    context = browser.new_context()
    page = context.new_page()
    violations: list[str] = []
    page.on("console", lambda line: violations.append(line.text))
    page.goto(site.url)
    page.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend",
                "<img src='/healthz' onerror='window.harmed=1' onload='window.harmed=1'>");
            const script = document.createElement("script");
            script.textContent = "window.harmed = 2";
            document.body.append(script);
        }"""
    )
    page.wait_for_timeout(500)
    assert page.evaluate("() => window.harmed") is None
    assert any("Content Security Policy" in line for line in violations)
    context.close()


@pytest.mark.parametrize("width", [1400, 390, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(browser: "Browser", site: Site, width: int, scheme: str):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{site.url}/#pipeline=others&query=dragon&compare=space&expand=1")
    assert ids(page, 1)
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    page.goto("about:blank")
    page.goto(f"{site.url}/#pipeline=films&other=others&query=dragon&compare=pipeline&expand=1")
    assert ids(page, 1)
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    context.close()


def test_the_token_opens_the_page_and_the_address_is_kept(browser: "Browser", offered: Offered):
    with serving(offered, token="correct horse battery staple") as site:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{site.url}/#pipeline=films&query=moth&limit=3")
        box = page.get_by_label("Token")
        box.fill("wrong")
        box.press("Enter")
        page.get_by_text("That is not the token.").wait_for()
        page.get_by_label("Token").fill(site.token)
        page.get_by_role("button", name="Open").click()
        assert len(ids(page)) == 3
        assert page.evaluate("() => document.cookie") == ""
        context.close()
