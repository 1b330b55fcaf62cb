"""Who holds a lease, and when it is certain that the holder has died.

A pid says something only to processes that see the same pids: of the same kernel since the same
start, and of the same pid namespace. Containers often share a host name (and the `machine-id` of
their image) and not one of these. Wherever it is not certain that both see the same, a holder
counts as alive until its lease expires: that costs a minute, the other error a fence.
"""

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CLOCK_SET_SECONDS = 10
"""Where a process's start is reckoned from the machine's clock, which may have been set since."""


@dataclass(frozen=True)
class Holder:
    """A run, in a process of a machine; what is not known is None.

    Attributes:
        boot: Changes whenever the machine starts.
        namespace: Processes of another one have pids of their own.
        started: When the process started: on Linux in ticks since the machine did.
    """

    run: str
    host: str | None
    pid: int | None
    started: float | None
    boot: str | None
    namespace: str | None

    @classmethod
    def here(cls, run: str) -> "Holder":
        pid = os.getpid()
        return cls(run, socket.gethostname(), pid, _started(pid), _boot(), _namespace())

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Holder":
        """From a lease; one of an earlier version knows neither boot nor namespace."""
        host, pid, started = (document.get(name) for name in ("host", "pid", "started"))
        boot, namespace = document.get("boot"), document.get("namespace")
        return cls(document["run"], host, pid, started, boot, namespace)

    def died(self) -> bool:
        """Whether its process is certainly gone; False where that cannot be known from here."""
        here = (socket.gethostname(), _boot(), _namespace())
        known = None not in (self.pid, self.started, *here)
        if not known or (self.host, self.boot, self.namespace) != here:
            return False
        assert self.pid is not None
        assert self.started is not None
        if not _exists(self.pid):
            return True
        started = _started(self.pid)
        if started is None:  # of another user, in a /proc that hides those
            return False
        tolerated = 0 if _LINUX else CLOCK_SET_SECONDS
        return abs(started - self.started) > tolerated


_LINUX = sys.platform.startswith("linux")


def _exists(pid: int) -> bool:
    if os.name != "posix":  # where the call below would end the process
        return psutil.pid_exists(pid)
    try:
        # Not by /proc, which may be mounted to hide the processes of others.
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _started(pid: int) -> float | None:
    if not _LINUX:
        try:
            return psutil.Process(pid).create_time()
        except psutil.Error:
            return None
    try:
        # psutil adds the start of the machine, which moves whenever its clock is set.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return float(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str | None:
    if not _LINUX:
        return str(round(psutil.boot_time()))
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _namespace() -> str | None:
    if not _LINUX:
        return "the only one"
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
