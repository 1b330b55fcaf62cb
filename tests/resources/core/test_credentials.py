"""Secrets in clear are found, and those of the environment are shown nowhere."""

import traceback
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resources.core.credentials import hidden, in_clear, in_url, redacted, way_out, without_secrets
from resources.core.errors import BatchStoreError

# Long enough not to stand in a sentence by chance, and with all that people leave unescaped.
SECRET = st.text("abcXYZ019-_.~!$*+,=:/@%", min_size=12, max_size=30).map(lambda text: f"s{text}Q")
HOSTS = st.sampled_from(["bucket", "host.example", "host.example:8443", "[::1]:9000"])
SCHEMES = st.sampled_from(["s3", "gs", "sftp", "ftp", "http", "https", "mongodb", "mongodb+srv"])
CHAINS = st.sampled_from(["", "simplecache::", "zip://inner.csv::", "filecache::blockcache::"])


@st.composite
def with_login(draw: st.DrawFn) -> tuple[str, str]:
    """A URL with a password, and the password as it stands there."""
    scheme, secret = draw(SCHEMES), draw(SECRET)
    if scheme.startswith("http"):  # behind an unescaped slash a web page's path has begun
        secret = quote(secret, safe="!$*+,=:@")
    user = draw(st.sampled_from(["me", "AKIA0EXAMPLE", ""]))
    url = f"{draw(CHAINS)}{scheme}://{user}:{secret}@{draw(HOSTS)}/path/to.csv"
    return url, secret


@st.composite
def with_query(draw: st.DrawFn) -> tuple[str, str]:
    name = draw(
        st.sampled_from(
            ["sig", "X-Amz-Signature", "X-Goog-Signature", "key", "api_key", "apikey", "token",
             "access_token", "secret", "password", "X-Amz-Security-Token", "AWSAccessKeyId"]
        )
    )  # fmt: skip
    secret = quote(draw(SECRET), safe="")
    scheme, chain = draw(st.sampled_from(["https", "s3", "abfs", "mongodb"])), draw(CHAINS)
    return f"{chain}{scheme}://host/a/b.csv?versionId=7&{name}={secret}&x=1", secret


URLS = st.one_of(with_login(), with_query())


@given(URLS)
@example(("s3://AKIA:ab/cd@ef+g@bucket/x", "ab/cd@ef+g"))
@example(("mongodb://me:p@ss:w/rd@host", "p@ss:w/rd"))
@example(("https://ghp_0123456789@host/x", "ghp_0123456789"))
def test_a_url_with_a_secret_is_found_and_shown_without_it(found: tuple[str, str]):
    url, secret = found
    assert secret in in_url(url)
    shown = redacted(url)
    assert secret not in shown
    assert not in_url(shown)
    assert redacted(f"cannot read '{url}': refused") == f"cannot read '{shown}': refused"


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/prefix",
        "s3://bucket/folder@v2/x:1@2",
        "abfs://container@account.dfs.core.windows.net/x",
        "sftp://me@host/x",
        "hdfs://host:8020/user@domain/x",
        "http://host:8080/path@v1",
        "http://[::1]:8080/a@b",
        "hf://datasets/me/films@main/x.parquet",
        "github://owner:repository@main/x.csv",
        "zip://inner.csv::s3://bucket/archive.zip",
        "mongodb://127.0.0.1:27017/?directConnection=true&authSource=admin",
        "s3://bucket/file-?.csv",
        "state/batch_store",
        "C:\\data\\films.csv",
        "a sentence: me:you@home",
    ],
)
def test_a_url_without_a_secret_stays_as_it_is(url: str):
    assert in_url(url) == []
    assert redacted(url) == url


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "VOYAGE_API_KEY", "token", "hf_token", "password", "secret_key",
             "client_secret", "Authorization", "X-Api-Key", "credentials", "sas_token"],
)  # fmt: skip
def test_settings_that_are_a_secret_by_name(name: str):
    assert [path for path, _ in in_clear({"resources": {"a": {name: "x"}}})] == [
        ("resources", "a", name)
    ]
    assert not list(in_clear({"resources": {"a": {name: {"env": "NAME"}}}}))
    assert not list(in_clear({name: ""}))


def test_what_documents_hold_is_no_setting():
    url = "https://me:secret@host/x"
    for settings in [
        {"documents": [url, {"text": url, "token": "x"}]},
        {"filter": {"password": "x"}},
        {"max_tokens": 5, "id_field": "key", "tokenizer": "cl100k", "space_name": "a"},
        {"document_prompt": "secret: "},
    ]:
        assert not list(in_clear({"resources": settings}))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("resources.batch_store.config.url", "url: {env: BATCH_STORE_URL}"),
        ("resources.mongodb.config.deployment.server.uri", "uri: {env: MONGODB_URI}"),
        ("resources.embedder.config.provider.openai.api_key", "api_key: {env: OPENAI_API_KEY}"),
        ("resources.embedder.config.provider.voyage.base_url", "base_url: {env: EMBEDDER_BASE_URL"),
        ("api_key", "api_key: {env: API_KEY}"),
    ],
)
def test_the_way_out_names_a_variable(path: str, name: str):
    assert name in way_out(tuple(path.split(".")))


class Odd(Exception):
    """As those of aiohttp: its words come from what it holds."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def __str__(self) -> str:
        return f"404, url={self.url!r}"


def failing(url: str) -> BaseException:
    try:
        try:
            try:
                raise Odd(url)
            except Odd:
                raise KeyError(url)  # noqa: B904
        except KeyError as error:
            error.add_note(f"while reading {url}")
            raise FileNotFoundError(2, "no such file", url) from error
    except FileNotFoundError as error:
        try:
            raise BatchStoreError(f"{url} cannot be read: {error}") from error
        except BatchStoreError as raised:
            return raised


@given(URLS)
def test_a_trace_of_a_url_from_the_environment_does_not_show_its_secret(found: tuple[str, str]):
    url, secret = found
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANY_NAME", url)
        # Some backends take the URL apart, and name what is left.
        path = url.split("://", 1)[1]
        for error in (failing(url), failing(path)):
            trace = "".join(traceback.format_exception(without_secrets(error)))
            assert secret not in trace
            assert "while reading" in trace
            assert "404" in trace
            assert "KeyError" in trace


def test_no_piece_of_a_key_is_shown(monkeypatch: pytest.MonkeyPatch):
    """As object stores say: the bucket ends where the key has its first slash."""
    monkeypatch.setenv("ANY_NAME", "s3://AKIA0:wJalr/XUtn+FEMI@bucket/x")
    error = ValueError('Invalid bucket name "AKIA0:wJalr"; XUtn+FEMI: no such key')
    shown = 'Invalid bucket name "AKIA0:***"; ***: no such key'
    assert str(without_secrets(error)) == shown


@given(SECRET)
def test_a_key_from_the_environment_is_hidden(secret: str):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("VOYAGE_API_KEY", "DB_PASSWORD", "HF_TOKEN"):
            patch.setenv(name, secret)
            assert secret not in hidden(f"the server says: {secret}, no")
            assert secret not in str(BatchStoreError(f"no {secret}"))
            patch.delenv(name)
        assert secret not in hidden(f"the server says: {secret}, no", [secret])


def test_a_file_with_credentials_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/etc/keys/mine.json")
    assert hidden("no /etc/keys/mine.json") == "no /etc/keys/mine.json"


def test_an_error_without_a_secret_stays_the_same():
    error: Any = failing("s3://bucket/x")
    trace = traceback.format_exception(error)
    assert without_secrets(error) is error
    assert traceback.format_exception(error) == trace
