"""`make install`: pip, with a word on what it does, how far it is and how long it takes.

Of Python's own library alone: nothing else is there yet. What pip says in full is shown where it
fails; `make VERBOSE=1 …` shows it all along.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque

LINES_KEPT = 60
SIZES = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}
_FETCHED = re.compile(r"\s+Downloading \S+ \(([\d.]+) (kB|MB|GB)\)")
_FOUND = re.compile(r"(Collecting|Processing|Obtaining) ")


class Told:
    """One moving line in a terminal, else a line every ten seconds.

    Args:
        megabytes: To be downloaded, about; 0 where nobody knows.
    """

    def __init__(self, megabytes: float) -> None:
        self._total, self._fetched, self._found = megabytes, 0.0, 0
        self._unpacking = 0
        self._start = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def read(self, line: str) -> None:
        if size := _FETCHED.match(line):
            self._fetched += float(size[1]) * SIZES[size[2]]
        elif _FOUND.match(line):
            self._found += 1
        elif line.startswith("Installing collected packages:"):
            self._unpacking = line.count(",") + 1

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        if self._terminal:
            sys.stdout.write("\r\x1b[K")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def _go_on(self) -> None:
        while not self._over.wait(0.5 if self._terminal else 10):
            line = self._line()
            sys.stdout.write(f"\r\x1b[K{line[:79]}" if self._terminal else f"{line}\n")
            sys.stdout.flush()

    def _line(self) -> str:
        if self._unpacking:
            return f"  unpacking {self._unpacking} packages, {self.seconds:.0f} s"
        if not self._fetched:
            return f"  {self._found} packages found, {self.seconds:.0f} s"
        of = f" of about {self._total:,.0f}" if self._fetched < self._total else ""
        fetched = f"  {self._fetched:,.0f} MB{of} downloaded"
        return f"{fetched}, {self._found} packages, {self.seconds:.0f} s"


def main(megabytes: float, arguments: list[str]) -> int:
    """Run pip; its exit status."""
    told, said = Told(megabytes), deque[str](maxlen=LINES_KEPT)
    with subprocess.Popen(
        [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            told.read(line)
            if os.environ.get("VERBOSE"):
                sys.stdout.write(line)
    told.end()
    if process.returncode:
        sys.stderr.write("".join(said))
        return process.returncode
    sys.stdout.write(f"  installed in {told.seconds:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
