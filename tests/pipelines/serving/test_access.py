"""Who is let in: attacks over a real socket."""

import re
import socket
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.serving import access as access_module
from pipelines.serving import server
from pipelines.serving.access import SESSION, Access
from pipelines.serving.app import MAX_BODY
from pipelines.serving.offered import Offered
from pipelines.serving.page import login_page, search_page
from resources.core.errors import ConfigurationError
from tests.pipelines.helpers import MOTH
from tests.pipelines.serving.site import Site, serving

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def locked(offered: Offered) -> Iterator[Site]:
    with serving(offered, token=TOKEN) as found:
        yield found


# --- the host


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example",
        "127.0.0.1@evil.example", "127.0.0.1, evil.example", "2130706433", "127.1", "0.0.0.0", "",
        "localhost:{port}:1", "[::1", "127.0.0.1/evil",
    ],
)  # fmt: skip
def test_another_host_is_refused(site: Site, host: str):
    for path in ("/", "/pipelines", "/search?pipeline=films&query=a", "/healthz"):
        reply = site.get(path, host=host.format(port=site.port))
        assert reply.status == 400, path
        assert "does not go by that name" in reply.error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "localhost."])
def test_its_own_names_are_answered_with_any_port(site: Site, host: str):
    # Of a forwarded port the server knows nothing.
    for port in ("", f":{site.port}", ":9"):
        assert site.get("/healthz", host=host + port).status == 200


def test_two_hosts_are_none(site: Site):
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as asking:
        asking.sendall(
            b"GET /pipelines HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
            b"Connection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: asking.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"films" not in answer


# --- the other page


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "", "http://[", "file://"]
)
def test_another_sites_page_may_not_post(site: Site, origin: str):
    reply = site.post({"pipeline": "films", "query": MOTH}, origin=origin)
    assert reply.status == 403
    assert "another site" in reply.error


def test_our_own_page_and_a_program_may_post(site: Site):
    question = {"pipeline": "films", "query": MOTH}
    assert site.post(question, origin=site.url).status == 200
    assert site.post(question).status == 200


@pytest.mark.parametrize("where", ["cross-site", "same-site"])
def test_another_sites_page_may_not_spend_our_money_by_a_get(site: Site, where: str):
    assert site.get("/search?pipeline=films&query=a", sec_fetch_site=where).status == 403
    assert site.get("/", sec_fetch_site=where).status == 200  # a link to the page is one


def test_no_origin_is_invited(site: Site):
    reply = site.ask("OPTIONS", "/search", origin="http://evil.example")
    assert reply.status == 403
    for path in ("/", "/pipelines", "/search", "/nothing", "/openapi.json"):
        found = site.get(path, origin="http://evil.example").headers
        assert not [name for name in found if name.startswith("access-control")]


# --- the token


@pytest.mark.parametrize(
    "given",
    [
        "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}",
        TOKEN, f"Bearer {TOKEN.upper()}", "Bearer \xe9\xff", f"Bearer {'x' * 10_000}",
    ],
)  # fmt: skip
def test_without_the_token_there_is_nothing(locked: Site, given: str):
    for path in ("/pipelines", "/pipelines/films", "/search?pipeline=films&query=a",
                 "/openapi.json", "/nothing"):  # fmt: skip
        reply = locked.get(path, authorization=given)
        assert reply.status == 401, path
        assert reply.headers["www-authenticate"] == "Bearer"
        assert "films" not in reply.error
        assert TOKEN not in reply.error
    assert locked.get("/healthz", authorization=given).status == 200


def test_with_the_token_all_is_there(locked: Site):
    assert locked.searched(pipeline="films", query=MOTH, limit=1)[0]["id"] == "moth"
    assert locked.get("/pipelines", authorization=f"bearer {TOKEN}").status == 200


def login(site: Site, token: str, path: str = "/", **headers: str):
    body = f"token={token.replace(' ', '+')}".encode()
    kind = "application/x-www-form-urlencoded"
    return site.ask("POST", path, body, content_type=kind, authorization="", **headers)


def test_the_page_asks_for_the_token_and_a_cookie_stands_for_it(locked: Site):
    page = locked.get("/", authorization="")
    assert page.status == 401
    assert page.body.decode() == login_page().content
    wrong = login(locked, "wrong")
    assert wrong.status == 401
    assert "That is not the token." in wrong.body.decode()
    assert "set-cookie" not in wrong.headers

    right = login(locked, TOKEN, "/?next=//evil.example")
    assert (right.status, right.headers["location"]) == (303, "/")
    (cookie,) = SimpleCookie(right.headers["set-cookie"]).values()
    assert (cookie.key, cookie["httponly"], cookie["samesite"]) == (SESSION, True, "strict")
    assert TOKEN not in cookie.value

    def status(value: str) -> int:
        return locked.get("/pipelines", authorization="", cookie=f"{SESSION}={value}").status

    assert status(cookie.value) == 200
    until, _, signature = cookie.value.partition(".")
    for forged in (
        "", TOKEN, until, f"{until}.", f"{int(until) + 1}.{signature}", f".{signature}",
        f"{until}.{signature[:-1]}", f"{until}.{signature.upper()}", "\xe9.\xff",
    ):  # fmt: skip
        assert status(forged) == 401, forged


def test_another_sites_form_cannot_log_in(locked: Site):
    assert login(locked, TOKEN, origin="http://evil.example").status == 403


def test_a_login_is_bounded(locked: Site):
    assert login(locked, "x" * 10_000).status == 413


def test_without_a_token_nobody_logs_in(site: Site):
    assert login(site, "").status == 401
    assert "set-cookie" not in login(site, "").headers


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch):
    found = Access(["localhost"], token=TOKEN)
    value = found.session()
    assert found.is_session(value)
    assert not Access(["localhost"], token=TOKEN).is_session(value)  # of another process
    late = time.time() + access_module.SESSION_SECONDS + 1
    monkeypatch.setattr(access_module.time, "time", lambda: late)
    assert not found.is_session(value)


@settings(max_examples=300)
@given(st.text(), st.text(min_size=1))
def test_a_token_is_itself_alone(given_token: str, token: str):
    found = Access([], token=token)
    assert found.is_token(given_token) == (given_token == token)
    assert not found.is_session(given_token)


def test_a_token_is_not_in_what_is_printed():
    assert TOKEN not in repr(Access([], token=TOKEN))


# --- where it listens


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_another_address_needs_a_token(host: str, monkeypatch: pytest.MonkeyPatch):
    own = server.bound(host, 0)
    try:
        monkeypatch.delenv(server.TOKEN, raising=False)
        with pytest.raises(ConfigurationError, match=server.TOKEN):
            server.access(own, host, [])
        monkeypatch.setenv(server.TOKEN, "short")
        with pytest.raises(ConfigurationError, match="at least 16"):
            server.access(own, host, [])
        monkeypatch.setenv(server.TOKEN, TOKEN)
        found = server.access(own, host, ["search.example"])
        assert found.token == TOKEN
        for name in ("search.example", "127.0.0.1:80", "10.1.2.3", "[fe80::1]:80"):
            assert found.knows_host(name)
        assert not found.knows_host("evil.example")
    finally:
        own.close()


def test_a_token_is_asked_for_on_this_machine_too_where_one_is_set(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv(server.TOKEN, TOKEN)
    with server.bound("localhost", 0) as own:
        assert server.access(own, "localhost", []).token == TOKEN


def test_a_taken_port_and_an_address_of_others_are_one_sentence():
    with server.bound("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} .*--port"):
            server.bound("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match="--host"):
        server.bound("192.0.2.1", 0)


# --- what is sent


def test_a_huge_body_is_not_read(site: Site):
    reply = site.post(b'{"pipeline":"films","query":"' + b"a" * MAX_BODY + b'"}')
    assert reply.status == 413
    assert site.get("/healthz").status == 200


def sent(site: Site, *pieces: bytes) -> bytes:
    """The beginning of the answer to what is sent; empty where the door was closed on us."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as asking:
        try:
            for piece in pieces:
                asking.sendall(piece)
            return asking.recv(65536)
        except ConnectionError:
            return b""


def test_a_huge_body_without_a_length_is_not_read_either(site: Site):
    head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    answer = sent(site, head, *[piece] * (2 * MAX_BODY // 65536))
    assert answer.startswith(b"HTTP/1.1 413") or not answer
    assert site.get("/healthz").status == 200


def test_a_huge_address_is_refused(site: Site):
    head = b"GET /search?pipeline=films&query=" + b"a" * 300_000
    answer = sent(site, head, b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400") or not answer
    assert site.get("/healthz").status == 200


@pytest.mark.parametrize("depth", [13, 150, 5_000, 200_000])
def test_a_deep_filter_is_refused(site: Site, depth: int):
    deep = b'{"$and":[' * depth + b'{"kind":1}' + b"]}" * depth
    reply = site.post(b'{"pipeline":"films","query":"a","filter":' + deep + b"}")
    assert reply.status == 400
    assert len(reply.error) < 300
    assert site.get("/healthz").status == 200


def test_a_wide_filter_is_refused(site: Site):
    question = {"pipeline": "films", "query": "a", "filter": {"kind": {"$in": ["a"] * 1_001}}}
    assert "more than 1,000 parts" in site.post(question).error


@pytest.mark.parametrize(
    "value", ["\x00", "\x1b[31m", "\u202e", "\ud800", "\\\r\n", "<script>", "{{script}}", "🦄" * 99]
)
def test_strange_characters_do_nothing(site: Site, value: str):
    for question in (
        {"pipeline": "films", "query": f"moth {value}"},
        {"pipeline": "films", "query": "moth", "filter": {"kind": value}},
        {"pipeline": "films", "query": "moth", "filter": {value: 1}},
        {"pipeline": value, "query": "moth"},
        {"pipeline": "films", "query": "moth", value: 1},
    ):
        reply = site.post(question)
        assert reply.status in (200, 400, 404), reply.body
        assert reply.headers["content-type"] == "application/json"
        if reply.status != 200:
            assert reply.error


def test_every_answer_has_the_headers(site: Site, locked: Site):
    for reply in (
        site.get("/"), site.get("/pipelines"), site.get("/nothing"), site.post(b""),
        site.get("/", host="evil.example"), locked.get("/", authorization=""),
        locked.get("/search", authorization=""), site.get("/healthz"),
    ):  # fmt: skip
        found = reply.headers
        assert found["x-content-type-options"] == "nosniff"
        assert found["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in found["content-security-policy"]
        assert "default-src 'none'" in found["content-security-policy"]
        assert "unsafe" not in found["content-security-policy"]
        assert found["referrer-policy"] in ("no-referrer", "same-origin")
        assert found["cache-control"] == "no-store"
        assert "server" not in found


def test_the_page_names_no_other_address():
    page = search_page().content
    found = set(re.findall(r"https?://[^\s\"'`)]*", page)) - {"http://www.w3.org/2000/svg%27"}
    assert found <= {"http://www.w3.org/2000/svg"}, found
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in page
