"""A server's sentence is found in a body of any shape."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.embedders.failures import explained
from resources.embedders.words import LENGTH, words

SENTENCES = st.from_regex(r"[A-Z][a-z]{1,9}( [a-z0-9:,']{1,9}){1,8}", fullmatch=True)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["invalid_request_error", "Validation"]),
        "code": st.one_of(st.none(), st.integers(400, 599), st.just("InvalidParameter")),
        "param": st.sampled_from([None, "input"]),
        "status": st.integers(400, 599),
        "request_id": st.just("req-1"),
        "timestamp": st.just("2026-11-25T10:00:00Z"),
        "path": st.just("/v1/embeddings"),
    },
)


def _within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["error", "message", "detail", "msg", "errors", "Message", "reason"])
    objects = st.builds(lambda key, value, more: {**more, key: value}, keys, inner, LABELS)
    texts = inner.filter(lambda value: not isinstance(value, str)).map(json.dumps)
    return st.one_of(objects, inner.map(lambda value: [value]), texts)


def bodies(sentence: str) -> st.SearchStrategy[Any]:
    return st.recursive(st.just(sentence), _within, max_leaves=4)


@given(st.data(), SENTENCES)
def test_the_sentence_is_found_wherever_servers_put_it(data: st.DataObject, sentence: str):
    body = data.draw(bodies(sentence))
    assert words(json.dumps(body)) == sentence


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": "model not found"}', "model not found"),
        ('{"error": {"message": "Too long.", "type": "x", "code": 3}}', "Too long"),
        ('{"message": "batch too large", "code": 413, "type": "Validation"}', "batch too large"),
        ('{"detail": "Not Found"}', "Not Found"),
        (
            '{"detail": [{"loc": ["body", "input"], "msg": "too long", "type": "value_error"}, '
            '{"loc": ["body", "model"], "msg": "missing", "type": "missing"}]}',
            "body.input: too long: body.model: missing",
        ),
        ('[{"error": {"message": "in a list"}}]', "in a list"),
        ('{"error": ["one", "two"], "warnings": []}', "one: two"),
        ('{"status": 400, "error": "Bad Request", "message": "empty"}', "empty: Bad Request"),
        ('{"input": ["This field may not be blank."]}', "This field may not be blank"),
        ('{"error": "{\\"error\\": {\\"message\\": \\"nested\\"}}"}', "nested"),
        ('"just a string"', "just a string"),
        ("upstream connect error", "upstream connect error"),
        (
            "<html><head><title>502 Bad Gateway</title><style>p {}</style></head>"
            "<body><h1>502 Bad Gateway</h1><script>x()</script><hr>nginx</body></html>",
            "502 Bad Gateway nginx",
        ),
        ('{"error": "<html><body><p>Sign in</p></body></html>"}', "Sign in"),
        ("", ""),
        ("{}", ""),
        ('{"error": null, "code": 3}', ""),
        ("[[[[[[[[[[[[[[1]]]]]]]]]]]]]]", ""),
    ],
)
def test_words_of_servers(body: str, said: str):
    found = words(body)
    assert found.removeprefix("input: ") == said


@given(st.one_of(st.binary(), st.text(), st.text().map(lambda text: json.dumps({"error": text}))))
def test_any_body_gives_a_short_line_that_can_be_stored(body: Any):
    if isinstance(body, str):
        body = body.encode(errors="surrogatepass")
    found = words(body)
    assert len(found) <= LENGTH
    assert not [sign for sign in found if unicodedata.category(sign).startswith("C")]
    found.encode()  # no lone surrogate


def test_neither_the_key_nor_our_texts_are_shown_whole():
    text = "a long text about the harbour of Hamburg in winter"
    body = json.dumps({"error": f"cannot embed '{text}' with key sk-secret"})
    failure = explained(400, {}, body, variable="OPENAI_API_KEY", key="sk-secret", texts=[text])
    assert text not in str(failure)
    assert "sk-secret" not in str(failure)
    assert str(failure).startswith("cannot embed 'a long")


@pytest.mark.parametrize(
    ("status", "kind", "lasting"),
    [
        (400, "refused", True),
        (413, "refused", True),
        (422, "refused", True),
        (404, "refused", False),
        (451, "refused", False),
        (401, "forbidden", False),
        (403, "forbidden", False),
        (408, "transient", False),
        (409, "transient", False),
        (429, "throttled", False),
        (500, "transient", False),
        (599, "transient", False),
        (302, "transient", False),
    ],
)
def test_what_a_status_means(status: int, kind: str, lasting: bool):
    failure = explained(status, {}, "", variable="OPENAI_API_KEY")
    assert (failure.kind, failure.lasting) == (kind, lasting)
    assert failure.said == f"the server does not say why (HTTP {status})"
