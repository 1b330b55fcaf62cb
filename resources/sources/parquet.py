"""Records of Parquet files."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from resources.errors import SourceError
from resources.sources.fields import without_nested
from resources.sources.files import FileOrigin, check_columns
from resources.sources.locate import FoundFile, cause
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.shape import RecordShape

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1000


class ParquetOrigin(FileOrigin):
    kind: Literal["parquet"] = "parquet"

    def _of_file(
        self, file: FoundFile, shape: RecordShape
    ) -> Iterator[SourceDocument | RejectedRecord]:
        import pyarrow as pa
        from pyarrow import parquet

        with file.reading(mode="rb") as stream:
            try:
                table = parquet.ParquetFile(stream)
                schema = table.schema_arrow
            except pa.ArrowException as error:
                raise SourceError(f"{file.name} is not a Parquet file: {cause(error)}") from error
            missing = [path for path in shape.required if not _holds(schema, path)]
            check_columns(file, shape, missing, ", ".join(map(repr, schema.names)))
            batches = table.iter_batches(BATCH_ROWS, columns=without_nested(shape.fields))
            name, row = file.name, 0
            while True:
                try:
                    batch = next(batches, None)
                    records = _as_bson_types(batch).to_pylist() if batch else None
                # ValueError: a string that is not UTF-8, a date beyond the year 9999
                except (pa.ArrowException, ValueError, OverflowError) as error:
                    raise SourceError(
                        f"{file.name} is damaged after row {row}: {cause(error)}"
                    ) from error
                if records is None:
                    return
                for record in records:
                    row += 1
                    yield shape.document(record, f"{name}:{row}")


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


def _as_bson_types(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """The batch with its times as precise as BSON and Python can hold them.

    Without this, PyArrow needs pandas for a nanosecond.
    """
    import pyarrow as pa

    schema = pa.schema([field.with_type(_bson_type(field.type)) for field in batch.schema])
    if schema.equals(batch.schema):
        return batch
    columns = [
        column.cast(field.type, safe=False) if column.type != field.type else column
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _bson_type(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("ms", "UTC" if kind.tz else None)
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_bson_type(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_bson_type(kind.value_type)))
    return kind
