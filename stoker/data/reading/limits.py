"""What a row may be like whatever kind of file it came from: not over the size, not nested too deep."""

from __future__ import annotations

from typing import Any

from stoker.data.findings import RowProblem
from stoker.data.reading.source import Record
from stoker.data.reading.strict_json import MAX_DEPTH, is_too_deep

EXCERPT_BYTES = 1024


def too_long(what: str, line: int, num_bytes: int, max_bytes: int, raw: bytes) -> Record:
    """Return the record of a row over the limit; `raw` is its beginning."""
    reason = f"the {what} has {num_bytes:,} bytes, the limit is {max_bytes:,}"
    return Record(line, None, RowProblem("line-too-long", reason), raw[:EXCERPT_BYTES])


def not_too_deep(line: int, value: Any, raw: bytes) -> Record:
    """Return the record of a value, with a problem when its nesting is too deep."""
    if is_too_deep(value, raw.count(b"{") + raw.count(b"[")):
        return Record(line, None, RowProblem("too-deep", f"nested deeper than {MAX_DEPTH} levels"), raw)
    return Record(line, value, None, raw)
