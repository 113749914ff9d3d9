"""A run's whole order, made once: which sequences make up which optimizer step.

Every sequence of every new row appears exactly `epochs` times, and replay rows are drawn evenly over the earlier
datasets; so what a run trains is a fact before its first step, and a resume reads it back. Pure numpy: no model, no
tokens, only lengths. How sequences share steps is in `buckets`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stoker.durable import write_atomic
from stoker.train.buckets import StepSize, lay_out

PLAN = "plan.npz"

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Lengths:
    """One dataset as the plan sees it: tokens and row of each sequence (rows ascending), and which rows may train."""

    dataset: str
    lengths: Ints
    row_index: Ints
    is_usable: NDArray[np.bool_]

    @property
    def usable_rows(self) -> Ints:
        return np.flatnonzero(self.is_usable)

    def sequences_of(self, rows: Ints) -> Ints:
        """Return the sequences of these rows, in the rows' order."""
        starts = np.searchsorted(self.row_index, rows, side="left")
        counts = np.searchsorted(self.row_index, rows, side="right") - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.asarray(np.repeat(starts, counts) + within, dtype=np.int64)


@dataclass(frozen=True)
class Plan:
    """Steps in order. Step i trains items offsets[i]:offsets[i + 1]; an item is (dataset, sequence).

    `padded` counts the positions that are computed, `tokens` those that hold a token. `rows` counts the rows that
    begin in a step, so its sum is the number of rows trained; `replay_rows` is the part that is replay.
    """

    datasets: tuple[str, ...]
    item_dataset: NDArray[np.int32]
    item_sequence: NDArray[np.int64]
    offsets: Ints
    epoch: Ints
    tokens: Ints
    padded: Ints
    rows: Ints
    replay_rows: Ints
    facts: dict[str, Any]

    @property
    def total_steps(self) -> int:
        return len(self.offsets) - 1

    @property
    def fill(self) -> float:
        """Share of the computed positions that hold a token."""
        return float(self.tokens.sum() / max(1, self.padded.sum()))

    def items(self, step: int) -> list[tuple[int, int]]:
        """Return the (dataset index, sequence index) pairs of a step, longest first."""
        span = slice(self.offsets[step], self.offsets[step + 1])
        return list(zip(self.item_dataset[span].tolist(), self.item_sequence[span].tolist(), strict=True))

    def sha256(self) -> str:
        """Return the identity of the order: a checkpoint resumes under no other."""
        whole = hashlib.sha256(orjson.dumps([self.datasets, self.facts], option=orjson.OPT_SORT_KEYS))
        for array in (self.item_dataset, self.item_sequence, self.offsets):
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()


def make_plan(
    new: Sequence[Lengths],
    earlier: Sequence[Lengths],
    *,
    epochs: int,
    replay: float,
    batch_tokens: int,
    packing: bool,
    seed: int,
    batch_size: int | None = None,
) -> Plan:
    """Lay out a run over the usable rows of `new`, with round(replay * rows * epochs) rows of `earlier` mixed in.

    Positions computed in a step stay within `batch_tokens`, except where a single sequence is longer than that: it is
    a step of its own. With `batch_size` a step holds so many sequences instead. Epochs do not overlap.
    """
    rng = np.random.default_rng([seed, len(new), len(earlier)])
    data = [*new, *earlier]
    num_new_rows = sum(len(part.usable_rows) for part in new)
    drawn = _draw_replay(earlier, round(replay * num_new_rows * epochs), rng)
    layout = Layout(data, len(new), StepSize(batch_tokens, batch_size, packing), rng)
    for epoch in range(epochs):
        share = drawn[len(drawn) * epoch // epochs : len(drawn) * (epoch + 1) // epochs]
        layout.add_epoch(epoch, share)
    asked = {} if batch_size is None else {"batch_size": batch_size}
    return layout.plan(
        {
            "seed": seed, "epochs": epochs, "replay": replay, "batch_tokens": batch_tokens, "packing": packing,
            "rows": num_new_rows, "inputs": plan_inputs(data, len(new)), **asked,
        }
    )  # fmt: skip


def plan_inputs(data: Sequence[Lengths], num_new: int) -> str:
    """Return the identity of what a plan is made from; another one means that the stored plan does not fit."""
    whole = hashlib.sha256(str(num_new).encode())
    for part in data:
        whole.update(part.dataset.encode())
        for array in (part.lengths, part.row_index, part.is_usable):
            whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def save_plan(plan: Plan, path: Path) -> None:
    """Write the plan atomically."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        name: getattr(plan, name)
        for name in ("item_dataset", "item_sequence", "offsets", "epoch", "tokens", "padded", "rows", "replay_rows")
    }
    about = orjson.dumps({"datasets": plan.datasets, "facts": plan.facts}).decode()
    np.savez(buffer, about=np.array(about), **arrays)
    write_atomic(path, buffer.getvalue(), fault="plan")


def load_plan(path: Path) -> Plan | None:
    """Read a plan back, or None when there is none that can be read."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            about = orjson.loads(str(stored["about"]))
            arrays = {name: stored[name] for name in stored.files if name != "about"}
        return Plan(datasets=tuple(about["datasets"]), facts=about["facts"], **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def split_step(lengths: Sequence[int], parts: int) -> list[slice]:
    """Cut a step into at most `parts` slices of about equal tokens; no sequence is cut."""
    count = len(lengths)
    if parts <= 1 or count <= 1:
        return [slice(0, count)]
    parts = min(parts, count)
    ends = np.cumsum(lengths)
    cuts = [0]
    for part in range(1, parts):
        cut = int(np.searchsorted(ends, ends[-1] * part / parts, side="left")) + 1
        cuts.append(min(max(cut, cuts[-1] + 1), count - (parts - part)))
    return [slice(start, end) for start, end in zip(cuts, [*cuts[1:], count], strict=True)]


def _draw_replay(earlier: Sequence[Lengths], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `count` (dataset, row) pairs, as many of each dataset as it has; none twice before all were drawn once."""
    sizes = np.array([len(part.usable_rows) for part in earlier], dtype=np.int64)
    drawn: list[NDArray[np.int64]] = []
    while count > 0 and sizes.sum():
        quotas = sizes if count >= sizes.sum() else _even_quotas(sizes, count, rng)
        chosen = [
            np.stack([np.full(quota, i), rng.permutation(part.usable_rows)[:quota]], axis=1)
            for i, (part, quota) in enumerate(zip(earlier, quotas.tolist(), strict=True))
        ]
        drawn.append(rng.permutation(np.concatenate(chosen)))
        count -= int(quotas.sum())
    return np.concatenate(drawn) if drawn else np.zeros((0, 2), dtype=np.int64)


def _even_quotas(sizes: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Split `count` evenly; what a small dataset can't give is split over the others."""
    quotas = np.zeros_like(sizes)
    while count:
        open_ones = np.flatnonzero(quotas < sizes)
        share = count // len(open_ones)
        if share == 0:
            quotas[rng.permutation(open_ones)[:count]] += 1
            break
        added = np.minimum(share, (sizes - quotas)[open_ones])
        quotas[open_ones] += added
        count -= int(added.sum())
    return quotas


class Layout:
    """Collects the steps of the epochs."""

    def __init__(self, data: Sequence[Lengths], num_new: int, size: StepSize, rng: np.random.Generator) -> None:
        self.data, self.num_new, self.size, self.rng = data, num_new, size, rng
        self.steps: list[NDArray[np.int64]] = []  # each [n, 2]: dataset, sequence
        self.step_epochs: list[int] = []

    def add_epoch(self, epoch: int, replay_rows: NDArray[np.int64]) -> None:
        """Mix the epoch's new and replayed sequences evenly, then lay them out."""
        fresh = self.rng.permutation(self._fresh())
        again = self._again(replay_rows)
        places = np.concatenate([_places(len(fresh), self.rng), _places(len(again), self.rng)])
        self.add_items(epoch, np.concatenate([fresh, again])[np.argsort(places, kind="stable")])

    def add_items(self, epoch: int, items: NDArray[np.int64]) -> None:
        """Lay out these sequences, which stand in the order in which they should meet."""
        if len(items):
            steps = lay_out(self._lengths(items), self.size, self.rng)
            self.steps += [items[step] for step in steps]
            self.step_epochs += [epoch] * len(steps)

    def add_step(self, epoch: int, items: NDArray[np.int64]) -> None:
        """Take a step over as it is."""
        self.steps.append(items)
        self.step_epochs.append(epoch)

    def plan(self, facts: dict[str, Any]) -> Plan:
        items = np.concatenate(self.steps) if self.steps else np.zeros((0, 2), dtype=np.int64)
        offsets = np.cumsum([0, *(len(step) for step in self.steps)], dtype=np.int64)
        lengths, begins = self._lengths(items), self._begins_row(items)
        is_replay = items[:, 0] >= self.num_new
        tokens = _sums(lengths, offsets)
        padded = tokens
        if not self.size.is_packed and len(self.steps):
            padded = np.maximum.reduceat(lengths, offsets[:-1]) * np.diff(offsets)
        return Plan(
            datasets=tuple(part.dataset for part in self.data),
            item_dataset=items[:, 0].astype(np.int32),
            item_sequence=items[:, 1],
            offsets=offsets,
            epoch=np.array(self.step_epochs, dtype=np.int64),
            tokens=tokens,
            padded=padded,
            rows=_sums(begins.astype(np.int64), offsets),
            replay_rows=_sums((begins & is_replay).astype(np.int64), offsets),
            facts=facts,
        )

    def _fresh(self) -> NDArray[np.int64]:
        parts = [_pairs(i, part.sequences_of(part.usable_rows)) for i, part in enumerate(self.data[: self.num_new])]
        return np.concatenate(parts)

    def _again(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        parts = []
        for i, part in enumerate(self.data[self.num_new :]):
            parts.append(_pairs(self.num_new + i, part.sequences_of(rows[rows[:, 0] == i, 1])))
        return self.rng.permutation(np.concatenate(parts)) if parts else np.zeros((0, 2), dtype=np.int64)

    def _lengths(self, items: NDArray[np.int64]) -> Ints:
        lengths = np.zeros(len(items), dtype=np.int64)
        for i, part in enumerate(self.data):
            mine = items[:, 0] == i
            lengths[mine] = part.lengths[items[mine, 1]]
        return lengths

    def _begins_row(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        begins = np.zeros(len(items), dtype=np.bool_)
        for i, part in enumerate(self.data):
            mine = items[:, 0] == i
            is_first = np.diff(part.row_index, prepend=-1) != 0
            begins[mine] = is_first[items[mine, 1]]
        return begins


def _pairs(dataset: int, sequences: Ints) -> NDArray[np.int64]:
    return np.stack([np.full(len(sequences), dataset, dtype=np.int64), sequences], axis=1)


def _places(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return evenly spread places in [0, 1), one at random in each of `count` equal stretches."""
    return np.asarray((np.arange(count) + rng.random(count)) / max(1, count))


def _sums(values: Ints, offsets: Ints) -> Ints:
    whole = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(whole[offsets[1:]] - whole[offsets[:-1]], dtype=np.int64)
