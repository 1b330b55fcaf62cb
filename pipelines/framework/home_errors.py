"""What can be wrong with DAGSTER_HOME, each as a sentence: full, closed, damaged, in use."""

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from dagster import DagsterInvalidConfigError
from sqlalchemy.exc import SQLAlchemyError

from resources.core.errors import ConfigurationError, EmbeddingsError

_ELSEWHERE = "set DAGSTER_HOME to a folder of yours"
_FULL = f"make room there, or {_ELSEWHERE} with room"
_ANEW = (
    "move it away and a new one is made (what Dagster knows of earlier runs stays behind; vectors "
    "and batches do not lie there)"
)
_SERVER = (
    "see that the server that its dagster.yaml names can be reached, and takes that user and "
    "password"
)
_DRIVER = (
    "pip install 'mongodb-embedding-pipelines[postgres]', and begin the address that its "
    "dagster.yaml names with `postgresql+psycopg2://`"
)
_UNSET = re.compile(r'environment variable "(\w+)" which is not set')
_BY_NUMBER = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EROFS: f"{_ELSEWHERE} that can be written to",
    errno.EACCES: f"{_ELSEWHERE} that can be written to",
    errno.EPERM: f"{_ELSEWHERE} that can be written to",
}
# SQLite's own words.
_BY_WORDS = {
    "is full": _FULL,
    "disk i/o error": _FULL,
    "readonly": f"{_ELSEWHERE} that can be written to",
    "unable to open": f"{_ELSEWHERE} that can be written to",
    "locked": "another process holds it: wait for that one to end, and run again",
    "not a database": _ANEW,
    "malformed": _ANEW,
}


@contextmanager
def opening(home: Path) -> Iterator[None]:
    """Whatever keeps the instance from being opened is something about its folder.

    Raises:
        ConfigurationError: In its place.
    """
    try:
        yield
    except EmbeddingsError:
        raise
    except Exception as error:  # Dagster checks nothing of it, so each part fails in its own way
        raise _sentence(home, error, "cannot be opened") from error


@contextmanager
def using(home: Path) -> Iterator[None]:
    """Of all errors, those of the instance's files.

    Raises:
        ConfigurationError: In their place.
    """
    try:
        yield
    except EmbeddingsError:
        raise
    except Exception as error:
        for each in _chain(error):
            ours = isinstance(each, OSError) and str(home) in str(each.filename or "")
            if ours or isinstance(each, SQLAlchemyError):
                raise _sentence(home, each, "cannot keep what runs do") from error
        raise


def _sentence(home: Path, error: BaseException, fails: str) -> ConfigurationError:
    where = f"DAGSTER_HOME, {home},"
    if isinstance(error, yaml.YAMLError):
        at = getattr(error, "problem_mark", None)
        line = f", line {at.line + 1}" if at else ""
        return ConfigurationError(
            f"{home / 'dagster.yaml'}{line} is not YAML: correct it, or delete it and it is made "
            "anew"
        )
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _BY_NUMBER:
            way_out = _BY_NUMBER[each.errno]
            return ConfigurationError(f"{where} {fails} ({each.strerror}): {way_out}")
        if isinstance(each, ModuleNotFoundError) and (each.name or "").startswith("psycopg"):
            return ConfigurationError(f"{where} {fails} ({each}): {_DRIVER}")
        if isinstance(each, DagsterInvalidConfigError) and each.errors:
            unset = _UNSET.search(each.errors[0].message)
            if unset:
                return ConfigurationError(
                    f"{where} {fails} ({unset[1]}, which its dagster.yaml names, is not set): set "
                    "it where this runs"
                )
        if type(getattr(each, "orig", None)).__module__.startswith("psycopg"):
            said = str(getattr(each, "orig", each)).splitlines()[0]
            return ConfigurationError(f"{where} {fails} ({said}): {_SERVER}")
        if isinstance(each, SQLAlchemyError | sqlite3.Error):
            said = str(getattr(each, "orig", None) or each).splitlines()[0]
            known = (way for words, way in _BY_WORDS.items() if words in said.lower())
            return ConfigurationError(f"{where} {fails} ({said}): {next(known, _ANEW)}")
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ConfigurationError(f"{where} {fails} ({said}): correct its dagster.yaml, or {_ANEW}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those it came of, the outermost first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
