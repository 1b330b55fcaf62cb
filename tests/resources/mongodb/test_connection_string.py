"""Whatever a connection string has wrong is told by one sentence, and none tells a password."""

import string
from urllib.parse import quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from resources.core.errors import DeploymentError
from resources.mongodb.connection_string import SUBJECT
from resources.mongodb.resource import MongoDBResource, Server

PASSWORD = "sek" + "ret9"  # whose pieces stand in no sentence of ours
PORT = "127.0.0.1:9"  # discard: nobody listens


def sentence(uri: str, seconds: float = 0.01) -> str:
    deployment = MongoDBResource(deployment=Server(uri=uri), timeout_seconds=seconds)
    with pytest.raises(DeploymentError) as raised, deployment.connect():
        pass
    return str(raised.value)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("localhost:27017", "does not begin with mongodb://"),
        ("http://localhost", "does not begin with mongodb://"),
        (f"'mongodb://{PORT}'", "leave the quotation marks out"),
        ("mongodb://", "names no host"),
        ("mongodb://ada:pw@", "names no host"),
        ("mongodb://a b", "white space"),
        ("mongodb://a\nb", "white space"),
        ("mongodb://h:port", "has a port that is no number"),
        ("mongodb://h:", "has a port that is no number"),
        ("mongodb://h:0", "has a port that is no number"),
        ("mongodb://h:65536", "has a port that is no number"),
        ("mongodb://h,", "empty name in its list of hosts"),
        ("mongodb://[::1", "IPv6 address without its brackets"),
        ("mongodb://ada:p%zz@h", "mean something else"),
        ("mongodb://ada:p@ss@h", "mean something else"),
        ("mongodb://ada:p:ss@h", "mean something else"),
        ("mongodb://ada:p/ss@h", "a / or ? before its @"),
        ("mongodb://ada:p?ss@h", "a / or ? before its @"),
        ("mongodb://:pw@h", "no user name"),
        ("mongodb://ada:@h", "no password"),
        ("mongodb://ada@h", "A password is required"),
        ('mongodb://h/a"b', "database name"),
        ("mongodb://h/?tsl=true", "does not know, tsl:"),
        ("mongodb://h/?tls=maybe", "value of its option tls"),
        ("mongodb://h/?tlsCAFile=/none.pem", "value of its option tlsCAFile"),
        ("mongodb://h/?a", "not NAME=VALUE"),
        ("mongodb://h/?tls=true&ssl=false", "contradict one another"),
        ("mongodb://a,b/?directConnection=true", "multiple hosts with directConnection"),
        ("mongodb+srv://h:27017", "one host and no port"),
        ("mongodb+srv://a,b", "one host and no port"),
        ("mongodb+srv://db.invalid", "names db.invalid, which cannot be looked up"),
    ],
)
def test_each_kind_is_told_with_its_way_out(uri: str, words: str):
    said = sentence(uri)
    assert words in said
    assert said.startswith(SUBJECT)
    assert ": " in said.removeprefix(SUBJECT), "says what to do"


def test_the_way_out_works(mongod_uri: str):
    """What the sentence about escapes asks for, done: the server is reached, and refuses ada."""
    password = "p@s/s:w%?#"
    address = mongod_uri.split("://")[1]
    assert "write each such character" in sentence(f"mongodb://ada:{password}@{address}")
    escaped = f"mongodb://ada:{quote_plus(password)}@{address}"
    said = sentence(escaped, seconds=20)
    assert "refuses the user name or password" in said
    assert password not in said


def test_white_space_around_it_does_nothing(mongod_uri: str):
    with MongoDBResource(deployment=Server(uri=f" {mongod_uri}\n")).connect() as client:
        assert client.admin.command("ping")["ok"]


SPECIAL = st.text(st.sampled_from(":@/?&=%#[],;$ \n\"'\\.é0aZ"), max_size=4)
PIECES = st.tuples(SPECIAL, SPECIAL).map(lambda around: around[0] + PASSWORD + around[1])
HOSTS = st.sampled_from([PORT, "127.0.0.1", "h.invalid", "", "[::1]:9", "a..b", "x" * 70, "a,b"])
TAILS = st.sampled_from(
    ["", "/", "/films", "/?tls=maybe", "/?w=1", "/?appName=a@b", "?retryWrites"]
)
SCHEMES = st.sampled_from(
    ["mongodb://", "mongodb+srv://", "", "http://", "mongodb:/", "MONGODB://"]
)


@settings(max_examples=150)
@example("mongodb://", "ada", PASSWORD, "@", "a..b", "")
@example("mongodb://", "ada", f"1/?{PASSWORD}=x", "@", PORT, "")
@example("mongodb://", "ada", PASSWORD, "", "", "")
@example("mongodb+srv://", "ada", f"{PASSWORD}@x", "@", "h.invalid", "")
@given(
    SCHEMES, st.sampled_from(["ada", "", "a:b"]), PIECES, st.sampled_from(["@", ""]), HOSTS, TAILS
)
def test_no_password_is_told(scheme, user, password, at, host, tail):
    # What follows the last `@` is a host by what a connection string is, and hosts are told.
    assume(at or PASSWORD not in password.partition("@")[2])
    said = sentence(f"{scheme}{user}:{password}{at}{host}{tail}")
    assert PASSWORD not in said
    assert len(said.splitlines()) == 1


@settings(max_examples=20)  # each may look for a server that is not there
@given(st.text(st.sampled_from(string.printable + "é…"), max_size=30).map("mongodb://h{}".format))
def test_nothing_else_is_raised(uri: str):
    assert len(sentence(uri).splitlines()) == 1
