"""What a user's environment can do wrong is told by one sentence, by whatever command is run.

It names what, where and the way out; nothing else comes, and no password.
"""

import errno
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.pipelines.helpers import MOTH, SHOP, Place, embeddings

PASSWORD = "sek" + "ret9"

COMMANDS = [
    ["plan", SHOP],
    ["doctor", SHOP],
    ["search", SHOP, MOTH],
    ["lineage", SHOP],
    ["lineage", SHOP, "--id", "moth"],
    ["audit", SHOP],
    ["spend", SHOP],
    ["quarantine", "list", SHOP],
    ["index", "list", SHOP],
]

SPECIAL = st.text(st.sampled_from(":@/?&=%#[],; \n\"'\\é0a"), max_size=3)
URIS = st.builds(
    "{}{}:{}{}{}{}{}{}".format,
    st.sampled_from(["mongodb://", "mongodb+srv://", "", "http://", "mongodb:/"]),
    st.sampled_from(["ada", ""]),
    SPECIAL,
    st.just(PASSWORD),
    SPECIAL,
    st.sampled_from(["@", ""]),
    st.sampled_from(["127.0.0.1:9", "127.0.0.1", "h.invalid", "", "[::1]:9", "a..b", "x:y"]),
    st.sampled_from(["", "/films", "/?tls=maybe", "/?w=1", "/?tsl=true", "?retryWrites"]),
)


@pytest.fixture(scope="module")
def elsewhere(place: Place) -> str:
    """The shop on a server whose address stands in the environment."""
    return place.config(
        "elsewhere", mongodb={"deployment": {"server": {}}, "timeout_seconds": 0.02}
    )


def told(arguments: list[str], uri: str) -> str:
    """The sentence of a command that is refused with such a MONGODB_URI."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONGODB_URI", uri)
        result = embeddings(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert PASSWORD not in result.output
    if arguments[0] == "doctor":
        (said,) = [line for line in result.output.splitlines() if "✗" in line]
        return said
    (said,) = result.stderr.strip().splitlines()
    return said.removeprefix("error: ")


@settings(max_examples=15)
@example(COMMANDS[0], f"mongodb://ada:{PASSWORD}")
@example(COMMANDS[1], f"mongodb://ada:1/?{PASSWORD}=x@127.0.0.1:9")
@example(COMMANDS[2], f"ada:{PASSWORD}@127.0.0.1")
@given(st.sampled_from(COMMANDS), URIS)
def test_no_connection_string_makes_a_traceback(elsewhere: str, command: list[str], uri: str):
    assert told([*command, "-c", elsewhere], uri)


@pytest.mark.parametrize("command", [["run", SHOP], *COMMANDS], ids=" ".join)
def test_every_command_says_what_is_wrong_with_it(elsewhere: str, command: list[str]):
    said = told([*command, "-c", elsewhere], f"ada:{PASSWORD}@127.0.0.1")
    assert "does not begin with mongodb:// or mongodb+srv://" in said


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("DAGSTER_HOME", "run"),
        ("DAGSTER_HOME", "doctor"),
        ("EMBEDDINGS_HOME", "run"),
        ("EMBEDDINGS_HOME", "plan"),
        ("EMBEDDINGS_HOME", "search"),
        ("EMBEDDINGS_HOME", "doctor"),
    ],
)
def test_a_home_that_is_a_file(place: Place, variable: str, command: str, monkeypatch):
    file = place.folder / "a file"
    file.touch()
    monkeypatch.setenv(variable, str(file))
    result = embeddings(command, SHOP, *([MOTH] if command == "search" else []))
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert str(file) in result.output


def test_a_disk_that_is_full_wherever_it_is(elsewhere: str, monkeypatch):
    """What no other sentence explains has the file's name in it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file")

    monkeypatch.setattr("pipelines.operations.plan.missing_variables", full)
    result = embeddings("plan", SHOP)
    assert result.exit_code == 1
    assert result.stderr == (
        "error: /some/file cannot be used (No space left on device): make room, or see that it may "
        "be read and written\n"
    )
