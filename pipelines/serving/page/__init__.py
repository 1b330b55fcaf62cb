"""The page: one HTML file with its style and script inside, put together when first asked for."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
SCRIPTS = ("dom.js", "state.js", "spaces.js", "compare.js", "hits.js", "main.js")


@dataclass(frozen=True)
class Page:
    content: str
    headers: dict[str, str]


@cache
def search_page() -> Page:
    style, script = _text("page.css"), "\n".join(map(_text, SCRIPTS))
    content = _text("page.html").replace("{{style}}", style).replace("{{script}}", script)
    # Only this style and this script are let in; nothing is loaded but from this server.
    policy = f"style-src {_hash(style)}; script-src {_hash(script)}"
    return Page(content, _headers(f"{policy}; connect-src 'self'; img-src data:"))


@cache
def login_page(*, wrong: bool = False) -> Page:
    style = _text("page.css")
    content = _text("login.html").replace("{{style}}", style)
    content = content.replace("{{why}}", "That is not the token." if wrong else "")
    # Without an origin the form would not be taken: `no-referrer` makes it null.
    return Page(
        content,
        _headers(f"style-src {_hash(style)}; form-action 'self'")
        | {"Referrer-Policy": "same-origin"},
    )


def _headers(policy: str) -> dict[str, str]:
    rest = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    form = "" if "form-action" in policy else "; form-action 'none'"
    return {"Content-Security-Policy": f"{rest}; {policy}{form}"}


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _text(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")
