"""A terminal in which the documents' commands are run, one after the other, in one process.

`python session.py FILE`, with the lines as a JSON list in FILE, in the folder of a project. Every
`embeddings` is the real command; only its start is spared, seconds each time. Prints a line of JSON
for each: what was run, its exit status, its output. It imports nothing of the tests, and lies in no
project, so that it is the working directory that says which project is meant.
"""

import contextlib
import io
import json
import os
import runpy
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path


def main(lines: Sequence[str]) -> None:
    home, answers = Path.cwd(), sys.stdout
    for line in lines:
        output, began = io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = _line(line)
        seconds = round(time.monotonic() - began, 1)
        said = {"line": line, "status": status, "seconds": seconds, "output": output.getvalue()}
        answers.write(json.dumps(said) + "\n")
        answers.flush()
    _go(home)


def _line(line: str) -> int:
    """Run what stands between `&&`, as far as it succeeds; what has a pipe runs in a shell."""
    words = shlex.split(line, comments=True)
    if "|" in words:
        return _command(["bash", "-c", line])
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        if status := _command(words[:end]):
            return status
        words = words[end + 1 :]
    return 0


def _command(words: Sequence[str]) -> int:
    name, *arguments = words
    if name == "export":
        return 0  # this session has an environment of its own
    if name == "cd":
        return _go(Path(arguments[0]))
    if name == "embeddings":
        return _called(lambda: _embeddings(arguments))
    if name == "python" and arguments[0].endswith(".py"):
        return _called(lambda: _script(arguments))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


def _embeddings(arguments: Sequence[str]) -> None:
    from pipelines.cli.start import main as embeddings

    sys.argv = ["embeddings", *arguments]
    embeddings()


def _script(arguments: Sequence[str]) -> None:
    sys.argv = [*arguments]
    runpy.run_path(arguments[0], run_name="__main__")


def _called(command: Callable[[], None]) -> int:
    try:
        command()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stdout.write(ended.code)
            return 1
        return ended.code or 0
    except BaseException:
        sys.stdout.write(traceback.format_exc())
        return 1
    return 0


def _go(folder: Path) -> int:
    """Into another project: its modules join ours, as they would in a process started there."""
    import pipelines

    os.chdir(folder)
    pipelines.__path__[1:] = [str(Path.cwd() / "pipelines")]
    return 0


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")))
