"""Records of Parquet files."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from resources.errors import SourceError
from resources.sources.fields import without_nested
from resources.sources.files import FileOrigin, check_columns
from resources.sources.locate import FoundFile, cause
from resources.sources.parquet_values import records
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import BadRecord, rejected
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
