"""Records of JSON files: one a line, the elements of an array, or objects over several lines."""

import codecs
import io
import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import IO, Literal

from pydantic import Field, field_validator

from resources.sources.decoding import KEEP, wrong_byte
from resources.sources.files import ENCODING, FileOrigin, encoded
from resources.sources.json_values import Values
from resources.sources.locate import FoundFile
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import rejected
from resources.sources.shape import RecordShape

# More than a MongoDB document can hold. A longer line is taken for damage: reading on could
# bring the whole file into memory.
LONGEST_LINE = 64 * 1024**2
READ_AHEAD = 1024**2


class JsonlOrigin(FileOrigin):
    """One or several files of JSON: an object a line, one array, or objects over several lines."""

    kind: Literal["jsonl"] = "jsonl"
    encoding: str = Field(default="utf-8", description=ENCODING)

    @field_validator("encoding")
    @classmethod
    def _line_by_line(cls, value: str) -> str:
        if encoded("a\n", value).removeprefix(codecs.BOM_UTF8) != b"a\n":
            raise ValueError(f"encoding {value} has no plain line ends: convert the file to utf-8")
        return value

    def _of_file(
        self, file: FoundFile, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        with file.reading(mode="rb", compression="infer") as raw:
            # Not every file of fsspec can read a line of limited length; none reads many fast.
            stream = io.BufferedReader(raw, READ_AHEAD)
            begin = _first_lines(stream)
            sign = self._sign(begin)
            if sign:
                yield from self._of_values(begin, stream, sign, file.name, shape)
            else:
                yield from self._of_lines(begin, stream, file.name, shape)

    def _of_lines(
        self, begin: list[bytes], stream: IO[bytes], name: str, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        lines = chain(begin, iter(partial(stream.readline, LONGEST_LINE), b""))
        for number, line in enumerate(lines, start=1):
            where = f"{name}:{number}"
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                _skip_line(stream)
                start = line[:500].decode(self.encoding, "replace")
                yield rejected(where, f"longer than {LONGEST_LINE >> 20} MiB", start)
            elif line.removeprefix(codecs.BOM_UTF8).strip():
                yield self._of_line(line, where, shape)

    def _sign(self, begin: list[bytes]) -> str:
        """What a file begins with that has no record in each line: an array or an object."""
        lines = [self._plain(line) for line in begin if not line.isspace()]
        first, *others = lines or [""]
        # A line that is whole in itself, and more lines after it: a record in each of them.
        if first.startswith("[") and not (others and _is_whole(first)):
            return "["
        # Its object goes on in the next line, which is none by itself.
        if first.startswith("{") and others and _ends_early(first) and not _is_whole(others[0]):
            return "{"
        return ""

    def _plain(self, line: bytes) -> str:
        return line.removeprefix(codecs.BOM_UTF8).decode(self.encoding, "replace").strip()

    def _of_values(
        self, begin: list[bytes], stream: IO[bytes], sign: str, name: str, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        decode = codecs.getincrementaldecoder(self.encoding)(KEEP).decode
        begin[0] = begin[0].removeprefix(codecs.BOM_UTF8)
        pieces = chain(begin, iter(partial(stream.read, READ_AHEAD), b""))
        texts = (text for piece in pieces if (text := decode(piece)))
        for found in Values(texts, in_array=sign == "["):
            where = f"{name}:{found.first}"
            if found.problem:
                several = found.last > found.first
                if several:
                    where += f"-{found.last}"
                yield rejected(where, found.problem, found.text, hides=several)
            elif (byte := wrong_byte(found.text)) is not None:
                reason = f"not valid {self.encoding}: it holds the byte {byte:#04x}"
                yield rejected(where, reason, found.text)
            elif not isinstance(found.value, dict):
                yield rejected(where, "JSON, but not an object", found.text)
            else:
                yield shape.document(found.value, where, found=found.text)

    def _of_line(
        self, line: bytes, where: str, shape: RecordShape
    ) -> SourceDocument | RejectedRecord:
        line = line.removeprefix(codecs.BOM_UTF8).strip()
        try:
            text = line.decode(self.encoding)
        except UnicodeDecodeError as error:
            reason = f"not valid {self.encoding} at byte {error.start + 1} of the line"
            return rejected(where, reason, line[:500].decode(self.encoding, "backslashreplace"))
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            return rejected(where, f"not JSON: {error.msg} at column {error.colno}", text)
        except (ValueError, RecursionError) as error:
            return rejected(where, f"JSON that cannot be read: {error}", text)
        if not isinstance(record, dict):
            return rejected(where, "JSON, but not an object", text)
        return shape.document(record, where, found=text)


def _first_lines(stream: IO[bytes]) -> list[bytes]:
    """The lines up to the second that is not blank."""
    lines: list[bytes] = []
    seen = 0
    while seen < 2 and (line := stream.readline(LONGEST_LINE)):
        lines.append(line)
        seen += not line.removeprefix(codecs.BOM_UTF8).isspace()
        if len(line) == LONGEST_LINE:
            break
    return lines


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        pass
    return True


def _ends_early(text: str) -> bool:
    """Whether it is JSON as far as it goes."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        pass
    return False


def _skip_line(stream: IO[bytes]) -> None:
    while (rest := stream.readline(1024**2)) and not rest.endswith(b"\n"):
        pass
