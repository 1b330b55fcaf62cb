"""Folders that only their owner gets into: what they hold is made of the source's texts."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from resources.core.paths import HOME, find_project

OTHERS = 0o007
GROUP = 0o070


def make_private(folder: str | Path) -> None:
    """Make a folder, and those above it that are missing, closed to the machine's other users.

    Whatever the umask. Within a folder that a group shares on purpose (writable for it or setgid,
    and closed to everybody else), the group gets into what is made, too. A folder that is there
    stays as it is, except the project's own `state/`, which earlier versions left open.

    Raises:
        OSError: It cannot be made.
    """
    folder = Path(os.path.abspath(folder))
    missing = list(_missing(folder))
    for path in reversed(missing):
        path.mkdir(mode=0o700 | _shared_bits(path.parent), exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    _close_state(folder)


def who_else(folder: Path) -> str:
    """Who besides its owner can read what lies in a folder: `everybody`, a `group`, or nobody: ``.

    A folder above it that is closed closes it, too.
    """
    if os.name != "posix":
        return ""
    found, group = OTHERS | GROUP, folder.stat().st_gid
    for path in (folder, *folder.resolve().parents):
        status = path.stat()
        if not status.st_mode & stat.S_IXOTH:
            found &= ~OTHERS
        # Whom another group lets through cannot be told from here.
        if not status.st_mode & (stat.S_IXGRP if status.st_gid == group else stat.S_IXOTH):
            found &= ~GROUP
    return "everybody" if found & OTHERS else "group" if found & GROUP else ""


def _missing(folder: Path) -> Iterator[Path]:
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            return
        yield path


def _shared_bits(parent: Path) -> int:
    mode = parent.stat().st_mode
    shared = mode & (stat.S_IWGRP | stat.S_ISGID) and not mode & OTHERS
    return mode & GROUP if shared else 0


def _close_state(folder: Path) -> None:
    root = find_project()
    # A link leads to a folder of the user's, as `EMBEDDINGS_HOME` does.
    if os.name != "posix" or os.environ.get(HOME) or root is None or (root / "state").is_symlink():
        return
    state = root / "state"
    if folder != state and state not in folder.parents:
        return
    with suppress(OSError):  # somebody else's, mounted read-only, or without modes
        mode = stat.S_IMODE(state.stat().st_mode)
        if mode & (OTHERS | GROUP):
            state.chmod(mode & ~(OTHERS | GROUP))
