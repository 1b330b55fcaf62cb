"""Standard output and error of the process: whatever reads them, or stops to, the work goes on."""

import io
import os
import sys
import traceback
from typing import Any

from pipelines.framework.console import errors


class Reader(io.FileIO):
    """A pipe or a file. Once nothing more can be written there, what is written is lost.

    Attributes:
        gone: Nobody reads any more, as after `| head -1`; or there is a `fault`.
        fault: Why nothing can be written, as when the disk is full.
    """

    gone = False
    fault = ""

    def write(self, data: Any) -> int:
        if not self.gone:
            try:
                return super().write(data)
            except OSError as error:
                self.gone = True
                if not isinstance(error, BrokenPipeError):
                    self.fault = error.strerror or str(error)
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
    reader = _reader()
    return reader is not None and reader.gone


def finish() -> None:
    """Tell of results that could not be written; for the end of the process.

    Raises:
        SystemExit: With 1, if there are any.
    """
    sys.stdout.flush()
    reader = _reader()
    if reader is not None and reader.fault:
        errors.say(
            "[red]error:[/red] standard output cannot be written ({fault}): write it elsewhere",
            fault=reader.fault,
        )
        sys.exit(1)


def _reader() -> Reader | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, Reader) else None


def say_traceback(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """A defect of ours, with data in it that are text here too."""
    errors.print("".join(traceback.format_exception(kind, error, trace)), soft_wrap=True, end="")


def _prepared(stream: Any) -> Any:
    if stream is None:  # closed
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):  # somebody's own
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
