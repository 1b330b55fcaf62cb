"""Records of Parquet files."""

from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING, Literal

from resources.core.errors import SourceError
from resources.core.windows import WINDOW_BYTES
from resources.sources.fields import without_nested
from resources.sources.files import FileOrigin, check_columns
from resources.sources.locate import FoundFile, cause
from resources.sources.parquet_values import records
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import BadRecord, rejected
from resources.sources.shape import RecordShape

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

BATCH_ROWS = 1000
READ_AHEAD = 1024**2
"""Bytes of a column read at a time; without this a row group's whole column is."""


class ParquetOrigin(FileOrigin):
    """One or several Parquet files; every row is a record."""

    kind: Literal["parquet"] = "parquet"

    def _of_file(
        self, file: FoundFile, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        import pyarrow as pa
        from pyarrow import parquet

        with file.reading(mode="rb") as stream:
            try:
                table = parquet.ParquetFile(stream, buffer_size=READ_AHEAD)
                schema = table.schema_arrow
            except pa.ArrowException as error:
                raise SourceError(f"{file.name} is not a Parquet file: {cause(error)}") from error
            missing = [path for path in shape.required if not _holds(schema, path)]
            check_columns(file, shape, missing, ", ".join(map(repr, schema.names)))
            batches = _batches(table, without_nested(shape.fields))
            name, row = file.name, 0
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, ValueError) as error:
                    raise SourceError(
                        f"{file.name} is damaged after row {row}: {cause(error)}"
                    ) from error
                if batch is None:
                    return
                for record in records(batch):
                    row += 1
                    if isinstance(record, BadRecord):
                        yield rejected(f"{name}:{row}", record.reason, record.found)
                    else:
                        yield shape.document(record, f"{name}:{row}")


def _batches(table: "parquet.ParquetFile", columns: list[str]) -> "Iterator[pa.RecordBatch]":
    """Rows of a number and size that can be held, as Arrow's and as Python's objects."""
    for group in range(table.num_row_groups):
        rows = _rows_at_once(table.metadata.row_group(group), columns)
        for batch in table.iter_batches(rows, row_groups=[group], columns=columns):
            # Rows may be of very different sizes, and a value that repeats takes no room in a file.
            pieces = ceil(batch.nbytes / WINDOW_BYTES)
            step = ceil(batch.num_rows / max(1, pieces))
            yield from (batch.slice(at, step) for at in range(0, batch.num_rows, step))


def _rows_at_once(group: "parquet.RowGroupMetaData", columns: list[str]) -> int:
    """As many as fit, going by the mean of a row group."""
    parts = (group.column(at) for at in range(group.num_columns))
    size = sum(
        part.total_uncompressed_size
        for part in parts
        if any(f"{part.path_in_schema}.".startswith(f"{name}.") for name in columns)
    )
    return min(BATCH_ROWS, max(1, WINDOW_BYTES * group.num_rows // max(1, size)))


def _holds(schema: "pa.Schema", path: str) -> bool:
    """Whether there is a column at the dotted path, or one whose name contains the dots."""
    import pyarrow as pa

    if path in schema.names:
        return True
    fields = list(schema)
    for part in path.split("."):
        field = next((field for field in fields if field.name == part), None)
        if field is None:
            return False
        fields = list(field.type) if pa.types.is_struct(field.type) else []
    return True
