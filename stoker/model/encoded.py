"""Token sequences: one row's, and a whole dataset's in flat arrays.

`trained[i]` says that token i is a label: the model is asked for it after tokens 0..i-1. Token 0 never is. The flat
form is what lies on disk and is memory-mapped; taking one sequence out of it copies nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Trained = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence: token ids, which of them are trained, and the row it came from."""

    ids: Ids
    trained: Trained
    row_id: str
    line: int

    def __len__(self) -> int:
        return len(self.ids)


class Refused(NamedTuple):
    """A row that has no sequences because the chat template can't render it."""

    row_id: str
    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class EncodedSet(Sequence[Encoded]):
    """Sequences end to end. Sequence i is ids[offsets[i]:offsets[i + 1]] and belongs to row `row_index[i]`.

    `row_ids` and `lines` are by row; `refused` rows are in neither.
    """

    ids: Ids
    trained: Trained
    offsets: NDArray[np.int64]
    row_index: NDArray[np.int32]
    row_ids: tuple[str, ...]
    lines: NDArray[np.int64]
    refused: tuple[Refused, ...] = ()

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Encoded]], refused: tuple[Refused, ...] = ()) -> EncodedSet:
        """Lay the sequences of each row end to end; a row may have several, but not none."""
        row_ids: list[str] = []
        lines: list[int] = []
        row_index: list[int] = []
        sequences: list[Encoded] = []
        for index, row in enumerate(rows):
            row_ids.append(row[0].row_id)
            lines.append(row[0].line)
            row_index.extend([index] * len(row))
            sequences.extend(row)
        return cls(
            ids=_joined([s.ids for s in sequences], np.int32),
            trained=_joined([s.trained for s in sequences], np.bool_),
            offsets=np.cumsum([0, *(len(s.ids) for s in sequences)], dtype=np.int64),
            row_index=np.array(row_index, dtype=np.int32),
            row_ids=tuple(row_ids),
            lines=np.array(lines, dtype=np.int64),
            refused=refused,
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each sequence."""
        return np.diff(self.offsets)

    @property
    def num_trained(self) -> NDArray[np.int64]:
        """Trained tokens in each sequence."""
        if not len(self.ids):
            return np.zeros(len(self), dtype=np.int64)
        counts = np.concatenate([[0], np.cumsum(self.trained, dtype=np.int64)])
        return np.asarray(counts[self.offsets[1:]] - counts[self.offsets[:-1]], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start, end, row = self.offsets[index], self.offsets[index + 1], self.row_index[index]
        return Encoded(self.ids[start:end], self.trained[start:end], self.row_ids[row], int(self.lines[row]))

    def __iter__(self) -> Iterator[Encoded]:
        return (self[index] for index in range(len(self)))


def flatten(sequences: Sequence[Encoded]) -> EncodedSet:
    """Return the sequences in flat form, each as a row of its own unless they are a set already."""
    if isinstance(sequences, EncodedSet):
        return sequences
    return EncodedSet.from_rows([sequence] for sequence in sequences)


def _joined(arrays: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.zeros(0, dtype=dtype)
