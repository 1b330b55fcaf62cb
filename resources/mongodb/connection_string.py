"""A connection string as it stands in an environment: what is wrong with it, without its secrets.

What the driver says of one quotes it, and a password that is not escaped can be anywhere in what it
quotes: a port, a host, an option. So sentences here name the part that is wrong, never its value.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options

from resources.core.errors import DeploymentError

SUBJECT = "the connection string (MONGODB_URI, or `mongodb: deployment: server: uri`)"
SCHEMES = ("mongodb://", "mongodb+srv://")
EXAMPLE = "mongodb://host:27017"
_ESCAPE = (
    "write each such character of a user name or password as its escape, @ as %40, : as %3A, "
    "/ as %2F, ? as %3F, % as %25"
)
_SECRET_OPTION = re.compile("password|properties", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:@\s]+)(:\d{1,5})?")


def checked(uri: str) -> str:
    """The connection string without white space around it, which some ways of setting it add.

    Raises:
        DeploymentError: It is none that the driver could use; says what to write instead.
    """
    found = uri.strip()
    if problem := next(_problems(found), None):
        raise DeploymentError(f"{SUBJECT} {problem}")
    return found


def host(uri: str) -> str:
    """Where it leads, for people; empty where that cannot be told from a password."""
    _, _, rest = uri.strip().partition("://")
    named = re.split(r"[/?]", rest.rpartition("@")[2])[0]
    # Without an `@` what looks like a bad port may be the password of somebody who left it out.
    return named if all(_HOST.fullmatch(each) for each in named.split(",")) else ""


def unusable(error: Exception, uri: str) -> DeploymentError:
    """What the driver has against one that `checked` let pass, if it quotes no secret of it."""
    said = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if not said or any(each in said for each in _secrets(uri)):
        said = type(error).__name__
    if "DNS" in said or "resolution lifetime" in said:
        return DeploymentError(
            f"{SUBJECT} names {host(uri)}, which cannot be looked up ({said.rstrip('.')}): correct "
            "the host's name, or see that this machine can ask a DNS server"
        )
    return DeploymentError(f"{SUBJECT} cannot be used ({said.rstrip('.')}): correct it")


def _secrets(uri: str) -> set[str]:
    """Whatever may be a password or a piece of one, as it stands and unescaped."""
    _, _, rest = uri.partition("://")
    before = rest.rpartition("@")[0] or ("" if host(uri) else rest)
    _, _, options = rest.partition("?")
    pairs = (pair.partition("=") for pair in re.split("[&;]", options))
    values = [value for name, _, value in pairs if _SECRET_OPTION.search(name) or "@" in options]
    pieces = {piece for text in (before, *values) for piece in re.split(r"[:@/?&=,;%]", text)}
    whole = {before, unquote_plus(before), before.partition(":")[2], *values}
    return {each for each in pieces | whole if len(each) > 2}


def _problems(uri: str) -> Iterator[str]:
    """What is wrong, the outermost first."""
    if not uri:
        yield f"is empty: set it, for example to {EXAMPLE}"
    if uri[:1] in "'\"":
        yield "begins with a quotation mark: leave the quotation marks out"
    if not uri.startswith(SCHEMES):
        yield f"does not begin with {' or '.join(SCHEMES)}: write it as in {EXAMPLE}"
    if re.search(r"[\s\x00-\x1f\x7f]", uri):
        yield "has white space or a control character in it: remove it, or escape it (a space: %20)"
    _, _, rest = uri.partition("://")
    body, _, options = rest.partition("?")
    hosts, _, database = body.partition("/")
    user, at, hosts = hosts.rpartition("@")
    if not at and "@" in database + options:
        yield f"has a / or ? before its @: {_ESCAPE}"
    yield from _user_problems(user if at else None)
    if not hosts:
        yield f"names no host: write it as in {EXAMPLE}"
    yield from _host_problems(hosts, srv=uri.startswith(SCHEMES[1]))
    if re.search(r'[/\\ "$]', unquote_plus(database.partition(".")[0])):
        yield 'has a database name with one of / \\ " $ in it: correct what stands after the host'
    yield from _option_problems(options)


def _user_problems(user: str | None) -> Iterator[str]:
    if user is None:
        return
    name, colon, password = user.partition(":")
    escapes = re.sub(r"%[0-9A-Fa-f]{2}", "", user)
    if "%" in escapes or set("@:/?#[]") & set(name + password):
        yield f"has characters in its user name or password that mean something else: {_ESCAPE}"
    if not name:
        yield "has no user name before its @: write it, or leave the @ out"
    if colon and not password:
        yield "has no password after its user name: write it"


def _host_problems(hosts: str, *, srv: bool) -> Iterator[str]:
    each = hosts.split(",")
    for one in each:
        name, colon, port = one.rpartition(":") if not one.endswith("]") else (one, "", "")
        if not one:
            yield "has an empty name in its list of hosts: remove the comma"
        if colon and name.startswith("[") != name.endswith("]"):
            yield "has an IPv6 address without its brackets: write it as in mongodb://[::1]:27017"
        if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            yield f"has a port that is no number from 1 to 65535: correct it; or else {_ESCAPE}"
        if not _HOST.fullmatch(one):
            yield f"has a host's name that can be none: write it as in {EXAMPLE}"
    if srv and (len(each) > 1 or ":" in hosts):
        yield "begins with mongodb+srv://, which takes one host and no port: leave the rest out"


def _option_problems(options: str) -> Iterator[str]:
    if not options:
        return
    try:
        split_options(options, validate=True, warn=False)
        return
    except (PyMongoError, ValueError, TypeError, OSError):
        pass
    if "@" in options:
        yield f"has options that cannot be read: correct what stands after ?; or else {_ESCAPE}"
    for pair in re.split("[&;]", options):
        name, equals, _ = pair.partition("=")
        if not (equals and re.fullmatch(r"\w+", name)):
            yield "has options that are not NAME=VALUE, with & between them: correct them after ?"
            return
        try:
            split_options(pair, validate=True, warn=False)
        except (PyMongoError, ValueError, TypeError, OSError) as error:
            if str(error).startswith("Unknown option"):
                yield f"has an option that the driver does not know, {name}: correct or remove it"
            yield f"has a value of its option {name} that cannot be used: correct or remove it"
    yield "has options that contradict one another: remove one of them"
