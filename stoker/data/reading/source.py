"""What a file is: how it was packed, encoded and laid out. Told from its bytes; names only help to say no."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stoker.data.findings import RowProblem

Kind = Literal["jsonl", "json", "delimited", "parquet", "arrow", "text"]

MEGABYTE = 1 << 20
KNOWN_FORMATS = (
    "JSONL, JSON, CSV and other delimited text, Parquet, Arrow and plain text are read, each also as .gz, .zst or .zip"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read rows from: the accepted copy, or a member of it, unpacked and in UTF-8, at `path`.

    `name` is what a person calls it ("rows.zip: part-1.csv" for a member). `member` is "" for a file that is not packed
    with others. `delimiter` belongs to kind "delimited".
    """

    kind: Kind
    path: Path
    name: str
    member: str = ""
    delimiter: str = ","


class Record(NamedTuple):
    """One input row: a value, or the problem that kept it from being one. `raw` is for the excerpt."""

    line: int
    value: Any
    problem: RowProblem | None
    raw: bytes
