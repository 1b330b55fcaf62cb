"""What a server says of a failure, in its own words, whatever shape the body has."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

LENGTH = 300

# Names under which servers put a sentence; in this order. A string under `error` comes after a
# `message`, because some give a label there ("Bad Request") and the sentence beside it.
_SENTENCES = (
    "message", "msg", "detail", "details", "errormessage", "errordescription", "description",
    "reason", "errors", "error", "title", "fault", "faultstring", "cause", "response", "statustext",
)  # fmt: skip
# What stands beside a sentence and is none.
_LABELS = frozenset((
    "type", "code", "param", "status", "statuscode", "errortype", "errorcode", "requestid",
    "traceid", "id", "object", "url", "path", "timestamp", "method", "instance",
    "documentationurl", "ctx", "loc", "model", "usage", "headers", "help", "success",
    "created",
))  # fmt: skip
_DEPTH = 8
_ECHO = 24
"""A text of ours that is shorter may stand in a message by chance."""


def words(body: str | bytes, hidden: Iterable[str] = ()) -> str:
    """The server's sentence, at most LENGTH characters of it; empty if there is none.

    Args:
        body: Of the response: JSON, HTML or plain text.
        hidden: What must not be shown: the API key, and our texts where they are echoed whole.
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    said = [_clean(sentence) for sentence in _sentences(_parsed(text), 0)]
    sentence = ": ".join(dict.fromkeys(filter(None, said)))
    for secret in sorted(map(_clean, hidden), key=len, reverse=True):
        if len(secret) >= _ECHO:
            sentence = sentence.replace(secret, secret[:8] + "…")
    return shortened(sentence)


def without_key(sentence: str, key: str) -> str:
    return sentence.replace(key, "…") if len(key) > 3 else sentence


def shortened(sentence: str) -> str:
    cut = sentence if len(sentence) <= LENGTH else sentence[: LENGTH - 1].rstrip() + "…"
    return cut.rstrip(".")


def _clean(text: str) -> str:
    """One line without control characters and lone surrogates, which MongoDB would refuse."""
    shown = (" " if unicodedata.category(sign)[0] == "C" else sign for sign in text)
    return " ".join("".join(shown).split()).rstrip(".")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _sentences(value: Any, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        return
    if isinstance(value, str):
        yield from _of_string(value, depth)
    elif isinstance(value, Mapping):
        yield from _of_object(value, depth)
    elif isinstance(value, list):
        for item in value[:5]:
            yield from _sentences(item, depth + 1)


def _of_string(text: str, depth: int) -> Iterator[str]:
    if text.lstrip()[:1] in ("{", "[") and not isinstance(inner := _parsed(text), str):
        found = list(_sentences(inner, depth + 1))
        yield from found or [text]
    elif re.search(r"<(!doctype|html|body|head|title|h1|p|div|pre)\b", text, re.IGNORECASE):
        yield _of_html(text)
    else:
        yield text


def _of_object(document: Mapping[str, Any], depth: int) -> Iterator[str]:
    by_name = {re.sub(r"[^a-z]", "", str(name).lower()): name for name in document}
    found = False
    named = [by_name[name] for name in _SENTENCES if name in by_name]
    nested = [name for name in named if not isinstance(document[name], str)]
    plain = [name for name in named if isinstance(document[name], str)]
    place = _place(document.get("loc"))
    for name in nested + plain:
        for sentence in _sentences(document[name], depth + 1):
            if _clean(sentence):
                found = True
                yield f"{place}: {sentence}" if place else sentence
    if not found:
        # A form that names its fields: {"input": ["may not be blank"]}.
        for name, key in by_name.items():
            if name not in _LABELS and isinstance(document[key], str | list | Mapping):
                for sentence in _sentences(document[key], depth + 1):
                    if _clean(sentence):
                        yield f"{key}: {sentence}"


def _place(loc: Any) -> str:
    """Where in the request, as FastAPI says it: body.input."""
    parts = loc if isinstance(loc, list) else []
    return ".".join(str(part) for part in parts if isinstance(part, str | int))


class _Visible(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.seen.append(_clean(data))


def _of_html(text: str) -> str:
    page = _Visible()
    page.feed(text)
    page.close()
    # The title comes again as the heading.
    return " ".join(dict.fromkeys(page.seen))
