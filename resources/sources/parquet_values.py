"""Values of Parquet as Python has them, with times as precise as BSON and Python can hold them.

A batch is converted as a whole, which is fast. Where that fails, because of one value or because
Arrow has no conversion for a type, it is done value by value, with the same results.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson.datetime_ms import DatetimeMS

from resources.sources.rejection import BadRecord

if TYPE_CHECKING:
    import pyarrow as pa

PER_SECOND = {"s": 1, "ms": 1000, "us": 1000_000, "ns": 1000_000_000}
_EPOCH = datetime(1970, 1, 1)
_FIRST = (datetime.min - _EPOCH) // timedelta(milliseconds=1)
_LAST = (datetime.max - _EPOCH) // timedelta(milliseconds=1)
_DAY = 24 * 60 * 60 * 1000


def records(batch: "pa.RecordBatch") -> Iterator[dict[str, Any] | BadRecord]:
    """The rows; of one that cannot be converted, why."""
    import pyarrow as pa

    try:
        # Of a batch all is converted before the first row is given away.
        yield from _as_bson_types(batch).to_pylist()
        return
    # ValueError: a string that is not UTF-8; the others: a date that Python has not
    except (pa.ArrowException, ValueError, OverflowError):
        pass
    for row in range(batch.num_rows):
        yield _record(batch, row)


def _record(batch: "pa.RecordBatch", row: int) -> dict[str, Any] | BadRecord:
    import pyarrow as pa

    record: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            record[name] = _value(column[row])
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            reason = f"column {name!r} holds text that is not UTF-8: the byte {byte:#04x}"
            return BadRecord(reason, record)
        except (pa.ArrowException, ValueError, OverflowError, RecursionError) as error:
            return BadRecord(f"column {name!r} cannot be read: {str(error)[:120]}", record)
    return record


def _as_bson_types(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Without this, PyArrow needs pandas for a nanosecond."""
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

    types = pa.types
    if types.is_timestamp(kind):
        # Seconds stay: in milliseconds the far ones would not fit, and come out as other dates.
        return pa.timestamp("s" if kind.unit == "s" else "ms", "UTC" if kind.tz else None)
    if types.is_duration(kind):
        return pa.duration("us") if kind.unit == "ns" else kind
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_struct(kind):
        return pa.struct([field.with_type(_bson_type(field.type)) for field in kind])
    if types.is_dictionary(kind):
        value = _bson_type(kind.value_type)
        return kind if value == kind.value_type else value
    if types.is_map(kind):
        item = kind.item_field.with_type(_bson_type(kind.item_type))
        return pa.map_(_bson_type(kind.key_type), item)
    if not _is_list(kind):
        return kind
    value = kind.value_field.with_type(_bson_type(kind.value_type))
    if value.equals(kind.value_field):
        return kind
    if types.is_fixed_size_list(kind):
        return pa.list_(value, kind.list_size)
    # A view cannot be cast, not even to a list; the caller then goes value by value.
    return pa.large_list(value) if types.is_large_list(kind) else pa.list_(value)


def _is_list(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return any(
        getattr(pa.types, f"is_{name}")(kind)
        for name in ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
        if hasattr(pa.types, f"is_{name}")
    )


def _value(scalar: Any) -> Any:
    import pyarrow as pa

    types, kind = pa.types, scalar.type
    if not scalar.is_valid:
        return None
    if types.is_timestamp(kind):
        return _moment(scalar.value, kind.unit, aware=bool(kind.tz))
    if types.is_date(kind):
        return _day(scalar.value * _DAY if types.is_date32(kind) else scalar.value)
    if types.is_duration(kind):
        # As a timedelta has it: to the microsecond.
        if kind.unit == "ns":
            return _truncated(scalar.value, 1000) / 1000_000
        return scalar.value / PER_SECOND[kind.unit]
    if types.is_time64(kind):
        micros = _truncated(scalar.value, 1000) if kind.unit == "ns" else scalar.value
        return (_EPOCH + timedelta(microseconds=micros)).time()
    if types.is_map(kind):
        return [(_value(pair[0]), _value(pair[1])) for pair in scalar.values]
    if types.is_struct(kind):
        return {field.name: _value(scalar[at]) for at, field in enumerate(kind)}
    if _is_list(kind):
        return [_value(inner) for inner in scalar.values]
    return _value(scalar.value) if types.is_dictionary(kind) else scalar.as_py()


def _moment(value: int, unit: str, *, aware: bool) -> datetime | DatetimeMS:
    millis = value * 1000 if unit == "s" else _truncated(value, PER_SECOND[unit] // 1000)
    if _FIRST <= millis <= _LAST:
        moment = _EPOCH + timedelta(milliseconds=millis)
        return moment.replace(tzinfo=UTC) if aware else moment
    return _far(millis)


def _day(millis: int) -> date | DatetimeMS:
    if _FIRST <= millis <= _LAST:
        return (_EPOCH + timedelta(milliseconds=millis)).date()
    return _far(millis)


def _far(millis: int) -> DatetimeMS:
    if not -(1 << 63) <= millis < 1 << 63:
        raise ValueError("a date beyond what BSON can hold")
    return DatetimeMS(millis)


def _truncated(value: int, by: int) -> int:
    """Towards zero, as Arrow does it."""
    return abs(value) // by * (1 if value >= 0 else -1)
