"""Records of CSV files."""

import codecs
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator, model_validator

from resources.core.errors import SourceError
from resources.sources.csv_dialect import Dialect
from resources.sources.csv_rows import LeftOut, Row, Rows
from resources.sources.decoding import KEEP, wrong_byte
from resources.sources.files import ENCODING, FileOrigin, check_columns, encoded
from resources.sources.locate import FoundFile
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import rejected
from resources.sources.shape import RecordShape

ADVICE = "`quote`, `escape` and `skip_initial_space` of origin csv say how a file is written"


class CsvOrigin(FileOrigin):
    """One or several CSV files; every row is a record, its cells are texts."""

    kind: Literal["csv"] = "csv"
    delimiter: str = Field(default=",", description='What separates columns; "\\t" for a tab.')
    quote: str | None = Field(
        default='"',
        description="What encloses a cell that holds delimiters or line ends; null where quotes "
        "mean nothing, as in most tab-separated files.",
    )
    escape: str | None = Field(
        default=None, description="What takes the next character's meaning from it, such as a \\."
    )
    double_quote: bool = Field(
        default=True, description="Whether a quote within quotes is written twice."
    )
    skip_initial_space: bool = Field(
        default=False, description="Leave out spaces that follow a delimiter."
    )
    header: bool = Field(
        default=True, description="Whether the first row names the columns; if not, `columns` does."
    )
    columns: list[str] = Field(
        default=[], description="The names of the columns of a file without a header, in order."
    )
    encoding: str = Field(default="utf-8", description=ENCODING)

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or value in "\r\n\0"):
            raise ValueError(f"{value!r} is not one character that a CSV file can be written with")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        encoded("", value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "CsvOrigin":
        signs = [sign for sign in (self.delimiter, self.quote, self.escape) if sign is not None]
        if len(set(signs)) < len(signs):
            raise ValueError(
                "delimiter, quote and escape must be different characters: set `quote: null` if "
                "quotes mean nothing"
            )
        if self.skip_initial_space and " " in signs:
            raise ValueError("skip_initial_space leaves out the space that is a sign of its own")
        if self.header == bool(self.columns):
            raise ValueError(
                "columns names the columns of a file without a header: give `header: false` and "
                "`columns` together"
            )
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns names one twice: each needs a name of its own")
        return self

    def _of_file(
        self, file: FoundFile, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        utf_8 = codecs.lookup(self.encoding).name == "utf-8"
        with file.reading(
            mode="r",
            encoding="utf-8-sig" if utf_8 else self.encoding,
            errors=KEEP,
            newline="",
            compression="infer",
        ) as stream:
            try:
                yield from self._of_rows(Rows(stream, self._dialect()), file, shape)
            except UnicodeError as error:  # utf-16 without the mark that it begins with
                raise self._not_decoded(file) from error

    def _dialect(self) -> Dialect:
        return Dialect(
            self.delimiter, self.quote, self.escape, self.double_quote, self.skip_initial_space
        )

    def _of_rows(
        self, rows: Rows, file: FoundFile, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        header = self._header(rows, file)
        _check_header(header, file, shape)
        name = file.name
        for found in rows:
            where = f"{name}:{found.first if isinstance(found, LeftOut) else found.line}"
            if isinstance(found, Row):
                yield self._of_row(found.cells, header, where, shape)
            else:
                several = found.last > found.first
                if several:
                    where += f"-{found.last}"
                reason = self._advised(found.reason)
                yield rejected(where, reason, found.excerpt, hides=several)

    def _header(self, rows: Rows, file: FoundFile) -> list[str]:
        if not self.header:
            rows.columns = len(self.columns)
            return self.columns
        header = rows.header()
        if header is None:
            raise SourceError(f"{file.name} is empty: its first row must name the columns")
        if isinstance(header, LeftOut):
            raise SourceError(f"{file.name}: the row of column names is malformed: {header.reason}")
        if any(wrong_byte(name) is not None or "\0" in name for name in header.cells):
            raise self._not_decoded(file)
        return header.cells

    def _not_decoded(self, file: FoundFile) -> SourceError:
        return SourceError(
            f"{file.name} is not {self.encoding}: set `encoding` of origin csv to what it is, for "
            "example cp1252 or utf-16"
        )

    def _advised(self, reason: str) -> str:
        if self.quote is None or "malformed" not in reason:
            return reason
        return f"{reason} ({ADVICE})"

    def _of_row(
        self, row: list[str], header: list[str], where: str, shape: RecordShape
    ) -> SourceDocument | RejectedRecord:
        found = ", ".join(row)
        if (byte := wrong_byte(found)) is not None:
            reason = f"not valid {self.encoding}: it holds the byte {byte:#04x}"
            return rejected(where, reason, found)
        if "\0" in found:
            return rejected(where, "holds the character NUL, as no text does", found)
        record = dict(zip(header, row, strict=True))
        if record.get(shape.id_field) == "":
            del record[shape.id_field]  # an empty cell is how CSV writes "none"
        return shape.document(record, where, found=found)


def _check_header(header: list[str], file: FoundFile, shape: RecordShape) -> None:
    known = ", ".join(repr(column) for column in header)
    check_columns(file, shape, [name for name in shape.required if name not in header], known)
    for name in shape.fields:
        if header.count(name) > 1:
            raise SourceError(f"{file.name} has several columns {name!r}: rename all but one")
