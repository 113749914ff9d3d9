"""Parquet and Arrow (file and stream) by pyarrow, batch by batch, with the decoded bytes counted.

A footer's sizes are not believed: 2 KB of Parquet can decode to gigabytes, so batches are small and what they decode to
is added up against the limits. `line` is the row's number, from 1.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import orjson

from stoker.data.findings import FileRefused, RowProblem
from stoker.data.reading.limits import not_too_deep, too_long
from stoker.data.reading.source import MEGABYTE, Record, Source
from stoker.spec.lab import IntakeSpec

_BATCH_ROWS = 256


def read_columnar(source: Source, spec: IntakeSpec) -> Iterator[Record]:
    """Yield one record per row."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_io_thread_count(1)  # each thread takes address space, of which there is little
    pa.set_cpu_count(1)
    limit, num_bytes, number = int(spec.max_file_megabytes * MEGABYTE), 0, 0
    max_row_bytes = int(spec.max_line_megabytes * MEGABYTE)
    try:
        for batch in _batches(source):
            for value in batch.to_pylist():
                number += 1
                raw = _as_json(number, value)
                num_bytes += len(raw) if isinstance(raw, bytes) else 0
                if num_bytes > limit:
                    raise FileRefused(
                        f"{source.name} decodes to more than {limit:,} bytes",
                        f"intake.max_file_megabytes = {spec.max_file_megabytes:g}",
                        "split the file, or raise intake.max_file_megabytes",
                    )
                yield _record(number, raw, max_row_bytes) if isinstance(raw, bytes) else raw
    except pa.ArrowMemoryError as error:
        raise MemoryError(str(error)) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileRefused(
            f"{source.name} can't be read as {source.kind.capitalize()} after row {number:,}: {_first_line(error)}",
            "a file is taken whole or not at all",
            "write the file again",
            line=number + 1,
        ) from error


def _batches(source: Source) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    if source.kind == "parquet":
        with parquet.ParquetFile(source.path, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)
        return
    with source.path.open("rb") as beginning:
        is_stream = not beginning.read(6).startswith(b"ARROW1")
    options = pa.ipc.IpcReadOptions(use_threads=False)
    with pa.OSFile(str(source.path)) as file:
        if is_stream:
            for batch in pa.ipc.open_stream(file, options=options):
                yield from _cut(batch)
            return
        reader = pa.ipc.open_file(file, options=options)
        for number in range(reader.num_record_batches):
            yield from _cut(reader.get_batch(number))


def _cut(batch: Any) -> Iterator[Any]:
    for start in range(0, batch.num_rows, _BATCH_ROWS):
        yield batch.slice(start, _BATCH_ROWS)


def _as_json(number: int, value: dict[str, Any]) -> bytes | Record:
    """Return the row as JSON, or the record of a row that can't be: it holds raw bytes, say, of an image."""
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError as error:
        return Record(number, None, RowProblem("wrong-type", f"a column holds what is no text: {error}"), b"")


def _record(number: int, raw: bytes, max_row_bytes: int) -> Record:
    if len(raw) > max_row_bytes:
        return too_long("row", number, len(raw), max_row_bytes, raw)
    return not_too_deep(number, orjson.loads(raw), raw)


def _plain(value: object) -> object:
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    raise TypeError


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
