"""Passwords, keys and tokens: found where they stand in clear, and kept out of what is shown.

They come from environment variables. What holds one in clear (a URL with a password, a signed
query, a setting named `api_key`) is refused in a YAML, since Dagster keeps run configs; and what an
environment variable brought appears in no sentence, log, metadata or trace.
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeGuard
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"

_NO_PORT = r"(?!\d{1,5}(?:[/?#]|$))"
_WITH_COLON = rf"[^/:@\s\[]*:{_NO_PORT}[^\s'\"]*@"
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*)://(?P<info>"
    # An unescaped key may hold any sign: up to the last @, if this is no address of a web page,
    rf"(?<!http://)(?<!https://){_WITH_COLON}"
    # else up to the last @ before the path, else the same again.
    rf"|[^/\s?#'\"]*@|{_WITH_COLON})?"
)
# fsspec chains file systems: zip://inner.csv::s3://bucket/archive.zip
_CHAINED = re.compile(r"::(?=[A-Za-z][\w+.-]*://)")
_QUERY = re.compile(r"(?P<before>[?&;#](?P<name>[\w.-]+)=)(?P<value>[^&;#\s'\"]*)")
_WEB = re.compile(r"(https?://[^?#\s'\"]*)[?#][^\s'\"]*")
_NAME_OR_TOKEN = ("http", "https", "ws", "wss")
"""Whose user name alone may be a token."""
_NO_LOGIN = ("github", "git")
"""github://owner:repository@branch/path"""

_SECRET = re.compile(
    r"(^|[_.-])(api[_-]?keys?|access[_-]?keys?|secret[_-]?keys?|private[_-]?keys?|account[_-]?keys?|"
    r"\w*token|\w*secret\w*|\w*password|passwd|pwd|passphrase|credentials?|authorization|"
    r"sig|signature|sas)$",
    re.IGNORECASE,
)
_SECRET_PARAMETER = re.compile(
    r"key|apikey|pass|auth|awsaccesskeyid|googleaccessid|authmechanismproperties",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)

_APART = re.compile(r"[/@?#]")
_SHORTEST = 4
"""Of a secret that is looked for by itself; "abc" may stand in a sentence by chance."""
_SHORTEST_VARIABLE = 8

_DATA = {"documents", "filter"}
"""Settings that hold what somebody's documents hold."""


def secret_name(name: str) -> bool:
    """Whether a setting or a parameter of this name holds a secret."""
    return bool(_SECRET.search(name))


def in_url(text: str) -> list[str]:
    """The secrets in a URL, or in several within a text, as they are written there."""
    return [secret for part in _CHAINED.split(text) for secret in _in_one(part)]


def in_clear(settings: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Settings that hold a secret, by their keys, with what holds it: `a URL`, or `its name`."""
    if isinstance(settings, Mapping):
        if set(settings) == {"env"}:
            return
        for key, value in settings.items():
            if key in _DATA:
                continue
            if isinstance(value, str) and value and secret_name(str(key)):
                yield (*path, key), "is a secret"
            else:
                yield from in_clear(value, (*path, key))
    elif isinstance(settings, list | tuple):
        for at, value in enumerate(settings):
            yield from in_clear(value, (*path, at))
    elif isinstance(settings, str) and in_url(settings):
        yield path, "is a URL that holds a password, key or signature"


def way_out(path: tuple[Any, ...]) -> str:
    """How to give a setting that may not be in clear."""
    words = [str(key) for key in path if str(key) not in ("resources", "config", "deployment")]
    known = {
        "api_key": f"{words[-2]}_api_key" if len(words) > 1 else "api_key",
        "uri": "mongodb_uri",
    }
    name = known.get(words[-1]) or "_".join([words[0], words[-1]])
    name = re.sub(r"\W+", "_", name).upper()
    return (
        "Dagster keeps run configs, so put it into an environment variable and write "
        f"`{words[-1]}: {{env: {name}}}`"
    )


def redacted(text: str) -> str:
    """A text whose URLs show neither passwords, keys nor signatures."""
    if "://" not in text:
        return text
    parts = _CHAINED.split(text)
    return "::".join(
        _QUERY.sub(_parameter, _WEB.sub(r"\1", _URL.sub(_login, part))) for part in parts
    )


def hidden(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without the secrets of the environment, without those given, and `redacted`."""
    for secret in _longest_first({*_of_environment(_environment()), *secrets}):
        text = text.replace(secret, HIDDEN)
    return redacted(text)


def in_settings(settings: Any) -> Iterator[str]:
    """The secrets that resolved settings hold: a resource, or a block of one."""
    for name in type(settings).model_fields:
        value = getattr(settings, name, None)
        if isinstance(value, str) and value:
            yield from _spellings(in_url(value))
            if secret_name(name) and len(value) >= _SHORTEST:
                yield value
        elif hasattr(type(value), "model_fields"):
            yield from in_settings(value)


def without_secrets(error: BaseException, secrets: Iterable[str] = ()) -> BaseException:
    """The error, and what caused it, as they may be written down; changes them where it must."""
    secrets = tuple(secrets)
    return _clean(error, lambda text: hidden(text, secrets), set())


def _clean(error: BaseException, hide: Callable[[str], str], seen: set[int]) -> BaseException:
    seen.add(id(error))
    found = error
    if hide(str(error)) != str(error):
        error.args = tuple(hide(each) if isinstance(each, str) else each for each in error.args)
        # Many put their text together from what else they hold.
        if hide(str(error)) != str(error):
            found = RuntimeError(f"{type(error).__name__}: {hide(str(error))}")
            found.with_traceback(error.__traceback__)
    if notes := getattr(error, "__notes__", None):
        found.__notes__ = list(map(hide, notes))
    cause, context = error.__cause__, error.__context__
    suppressed = error.__suppress_context__
    cleaned = {id(each): _clean(each, hide, seen) for each in (cause, context) if _new(each, seen)}
    found.__context__, found.__cause__ = cleaned.get(id(context)), cleaned.get(id(cause))
    found.__suppress_context__ = suppressed  # which the line above has set
    return found


def _new(error: BaseException | None, seen: set[int]) -> TypeGuard[BaseException]:
    return error is not None and id(error) not in seen


def _in_one(url: str) -> Iterator[str]:
    for match in _URL.finditer(url):
        info, scheme = (match["info"] or "")[:-1], match["scheme"].lower().split("+")[-1]
        user, _, password = info.partition(":")
        if password and scheme not in _NO_LOGIN:
            yield password
        elif user and scheme in _NAME_OR_TOKEN:
            yield user
    if "://" in url:
        yield from (
            m["value"]
            for m in _QUERY.finditer(url)
            if _is_secret(m) and m["value"] not in ("", HIDDEN)
        )


def _is_secret(parameter: re.Match[str]) -> bool:
    name = parameter["name"]
    return secret_name(name) or bool(_SECRET_PARAMETER.fullmatch(name))


def _redacted(part: str) -> str:
    return _QUERY.sub(_parameter, _WEB.sub(r"\1", _URL.sub(_login, part)))


def _login(url: re.Match[str]) -> str:
    return f"{url['scheme']}://" if any(_in_one(url[0])) else url[0]


def _parameter(parameter: re.Match[str]) -> str:
    return parameter["before"] + HIDDEN if _is_secret(parameter) else parameter[0]


def _environment() -> frozenset[tuple[str, str]]:
    return frozenset(
        (name, value)
        for name, value in os.environ.items()
        if "://" in value or _VARIABLE.search(name)
    )


@functools.lru_cache(maxsize=4)
def _of_environment(variables: frozenset[tuple[str, str]]) -> frozenset[str]:
    found: set[str] = set()
    for name, value in variables:
        found.update(_spellings(in_url(value)))
        # A file with credentials is named, not shown.
        if _VARIABLE.search(name) and len(value) >= _SHORTEST_VARIABLE and value[0] not in "/~.":
            found.add(value)
    return frozenset(found)


def _spellings(secrets: Iterable[str]) -> Iterator[str]:
    """Secrets as written and as meant, and the pieces that a path makes of them."""
    for secret in secrets:
        for spelling in {secret, unquote(secret), unquote_plus(secret)}:
            for piece in (spelling, *_APART.split(spelling)):
                if len(piece) >= _SHORTEST:
                    yield piece


def _longest_first(secrets: Iterable[str]) -> list[str]:
    return sorted(secrets, key=len, reverse=True)
