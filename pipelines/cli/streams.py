"""Standard output and error of the process: whatever reads them, or stops to, the work goes on."""

import io
import os
import sys
import traceback
from typing import Any

from pipelines.framework.console import errors


class Reader(io.FileIO):
    """The other end of a pipe. Once it is closed, as by `| head -1`, what is written is lost."""

    gone = False

    def write(self, data: Any) -> int:
        if not self.gone:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.gone = True
        return len(data)


def prepare() -> None:
    """Make both as they should be, once for a process.

    A run must not fail because nobody reads its progress any more; and a character that the
    terminal's encoding lacks is written as its code.
    """
    sys.stdout = _prepared(sys.stdout)
    sys.stderr = _prepared(sys.stderr)


def unread() -> bool:
    """Whether nobody reads standard output any more."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, Reader) and raw.gone


def say_traceback(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """A defect of ours, with data in it that are text here too."""
    errors.print("".join(traceback.format_exception(kind, error, trace)), soft_wrap=True, end="")


def _prepared(stream: Any) -> Any:
    if not isinstance(stream, io.TextIOWrapper):  # closed, or somebody's own
        return stream
    stream.reconfigure(errors="backslashreplace")
    if stream.isatty() or os.name != "posix":
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Reader(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )
