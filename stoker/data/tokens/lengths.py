"""How long every row of a file is in tokens, as training will measure it: the longest of its sequences.

The tokens of a row are those of `stoker.model.tokenizing.encode_rows` with the same folder; tests hold the two together. What a
shape or the fast library may have counted wrongly is counted anew with neither.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stoker.data.findings import FileRefused
from stoker.data.rows import Content, Row
from stoker.data.tokens.encoders import CheckedEncoder, ReferenceEncoder
from stoker.data.tokens.folder import longest_row, read_chat
from stoker.data.tokens.layout import Plan, Turn, needed_anchor, plan_turns, render_turns, tokenize_pieces
from stoker.data.tokens.shapes import Shapes
from stoker.errors import DataError
from stoker.spec.jobs import TokenizerRef

LIMITS = tuple(2**power for power in range(8, 16))
NUM_BINS = 20
_CHUNK_ROWS = 4096

Lengths = npt.NDArray[np.int64]


class RowLengths:
    """Measures rows in the order they are added. `refused`: (row, reason) of those that the template refuses; their length is 0."""

    def __init__(self, ref: TokenizerRef, *, is_careful: bool = False) -> None:
        assert ref.folder is not None
        self._ref = ref
        self._chat = read_chat(ref.folder)
        self._encoder = ReferenceEncoder(ref.folder) if is_careful else CheckedEncoder(ref.folder)
        self._shapes = None if is_careful else Shapes(self._chat)
        self._anchor, self._anchor_length = needed_anchor(self._ids, self._chat.stop_text)
        self._end = self._encoder.token_id(self._chat.vocabulary.named.get("eos_token", self._chat.stop_text))
        self.max_length = longest_row(ref.max_length, ref.folder)
        self.refused: list[tuple[int, str]] = []
        self.num_tokens = 0
        self._longest = array("I")

    @property
    def longest(self) -> Lengths:
        return np.array(self._longest, dtype=np.int64)

    @property
    def is_doubted(self) -> bool:
        return self._encoder.is_doubted or (self._shapes is not None and self._shapes.is_doubted)

    def measured_anew(self, rows: Iterable[Row]) -> RowLengths:
        """Return the lengths of all rows again, every one rendered and tokenised by the reference."""
        careful = RowLengths(self._ref, is_careful=True)
        chunk: list[Row] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == _CHUNK_ROWS:
                careful.add(chunk)
                chunk = []
        careful.add(chunk)
        return careful

    def add(self, rows: Sequence[Row]) -> None:
        """Measure rows."""
        batch = _Batch(len(rows))
        plans: list[tuple[int, Plan]] = []
        for place, row in enumerate(rows):
            if row.text is not None:
                batch.plain.append((place, row.text))
                continue
            try:
                for conversation in _conversations(row):
                    turns = self._turns(conversation)
                    if len(turns) == 1:
                        batch.places.append(place)
                        batch.texts += (turns[0].prompt, self._anchor + turns[0].answer)
                    else:
                        plans.append((place, plan_turns(conversation, turns, self._chat)))
            except FileRefused:
                raise  # the process's time is up
            except DataError as error:
                self.refused.append((len(self._longest) + place, str(error)))
        self._measure_pairs(batch)
        self._measure_plain(batch)
        self._measure_plans(batch, plans)
        self._longest.extend(batch.longest.tolist())
        self.num_tokens += batch.num_tokens

    def summary(self) -> dict[str, Any]:
        """Return what dataset.json says under `tokens`."""
        lengths = self.longest[self.longest > 0]
        return {
            "tokenizer": self._ref.name, "max_length": self.max_length, "total": self.num_tokens,
            "quantiles": _quantiles(lengths), "histogram": histogram(lengths),
            "lost": [[limit, int((lengths > limit).sum())] for limit in LIMITS],
        }  # fmt: skip

    def _turns(self, row: Row) -> list[Turn]:
        return render_turns(row, self._chat) if self._shapes is None else self._shapes.turns(row)

    def _measure_pairs(self, batch: _Batch) -> None:
        """Measure rows of one prompt and one answer, each tokenised by itself."""
        if batch.texts:
            sizes = np.diff(self._encoder.encode(batch.texts).offsets)
            batch.put(np.array(batch.places), sizes[0::2] + sizes[1::2] - self._anchor_length)

    def _measure_plain(self, batch: _Batch) -> None:
        """Measure plain text: with the tokens around it, and the end token when it is not there."""
        if batch.plain:
            found = self._encoder.encode([text for _, text in batch.plain], with_special=True)
            ends = [0 if len(ids) and ids[-1] == self._end else 1 for ids in map(found.of, range(len(batch.plain)))]
            places = np.array([place for place, _ in batch.plain])
            batch.put(places, np.diff(found.offsets) + np.array(ends, np.int64))

    def _measure_plans(self, batch: _Batch, plans: Sequence[tuple[int, Plan]]) -> None:
        """Measure conversations of several answers, whose turns may share a sequence."""
        if not plans:
            return
        ids_of = tokenize_pieces([plan for _, plan in plans], self._ids, self._chat)
        for place, plan in plans:
            sizes = [
                sum(len(ids_of.of(piece.text) if i else ids_of.whole(piece.text)) for i, piece in enumerate(sequence))
                for sequence in plan.sequences
            ]
            batch.put(np.full(len(sizes), place), np.array(sizes))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        found = self._encoder.encode(texts)
        return [found.of(i).tolist() for i in range(len(texts))]


class _Batch:
    """A few thousand rows while they are measured."""

    def __init__(self, num_rows: int) -> None:
        self.longest = np.zeros(num_rows, np.int64)
        self.num_tokens = 0
        self.places: list[int] = []
        self.texts: list[str] = []
        self.plain: list[tuple[int, str]] = []

    def put(self, places: npt.NDArray[np.integer], sizes: Lengths) -> None:
        np.maximum.at(self.longest, places, sizes)
        self.num_tokens += int(sizes.sum())


def histogram(lengths: Lengths) -> list[list[int]]:
    """Return [low, high, rows] of about NUM_BINS ranges, both ends included, as wide as their place asks for."""
    if len(lengths) == 0:
        return []
    low, high = max(1, int(lengths.min())), int(lengths.max()) + 1
    edges = np.unique(np.round(np.geomspace(low, max(low + 1, high), NUM_BINS + 1)).astype(np.int64))
    counts, _ = np.histogram(np.maximum(lengths, low), edges)
    return [[int(a), int(b) - 1, int(n)] for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]


def _quantiles(lengths: Lengths) -> dict[str, int]:
    if len(lengths) == 0:
        return {"p50": 0, "p90": 0, "p99": 0, "max": 0}
    p50, p90, p99 = np.quantile(lengths, (0.5, 0.9, 0.99), method="inverted_cdf").tolist()
    return {"p50": int(p50), "p90": int(p90), "p99": int(p99), "max": int(lengths.max())}


def _conversations(row: Row) -> Iterator[Row]:
    """Yield a row as what is trained: itself, or of a pair the prompt with either answer."""
    content = row.content
    if content.chosen is None or content.messages is None:
        yield row
        return
    for answer in (content.chosen, content.rejected or ()):
        yield Row(row.id, row.line, Content((*content.messages, *answer), tools=content.tools))
