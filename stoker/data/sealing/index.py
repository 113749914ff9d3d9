"""What a dataset remembers for later files: ids and shingle sets of its trained and its sealed rows (`index.npz`).

Only rows of sealed clusters count as sealed. Rows held out because they are near a sealed row are neither trained
nor tested; later rows near them alone are free, or the sealed region would creep over the lab.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from stoker.data.sealing.edits import EMPTY_KEYS, EditKeys
from stoker.data.sealing.shingles import Hashes, Indices, ShingleSets

INDEX = "index.npz"


@dataclass(frozen=True, slots=True)
class Side:
    """Rows of one side: ids (the 16 hex digits as a number), lines, and where they are needed their sets."""

    ids: npt.NDArray[np.uint64]
    lines: Indices


class Index:
    """The index of the dataset in `folder`. Arrays are read when they are first asked for.

    Rows of a dataset that is rolled back do not train, so later ones that equal them are no duplicates; what is sealed
    stays sealed.
    """

    def __init__(self, folder: Path, name: str, *, is_rolled_back: bool = False) -> None:
        self.folder, self.name, self.is_rolled_back = folder, name, is_rolled_back
        self._arrays: NpzFile = np.load(folder / INDEX, allow_pickle=False)

    def close(self) -> None:
        """Close the file; arrays that were read stay."""
        self._arrays.close()

    @cached_property
    def boilerplate(self) -> Hashes:
        return self._hashes("boilerplate")

    @cached_property
    def prompt_boilerplate(self) -> Hashes:
        return self._hashes("prompt_boilerplate")

    def trained(self) -> Side:
        return self._side("trained")

    def sealed(self) -> Side:
        return self._side("sealed")

    def held_out(self) -> Side:
        """Sealed rows and those held out because they are near one."""
        return self._side("held_out")

    def trained_sets(self) -> ShingleSets:
        return self._sets("trained")

    def trained_prompts(self) -> ShingleSets:
        return self._sets("trained_prompt")

    def sealed_sets(self) -> ShingleSets:
        return self._sets("sealed")

    def trained_edits(self) -> EditKeys:
        return self._edits("trained")

    def sealed_edits(self) -> EditKeys:
        return self._edits("sealed")

    def _side(self, name: str) -> Side:
        return Side(self._arrays[f"{name}_ids"].astype(np.uint64), self._arrays[f"{name}_lines"].astype(np.int64))

    def _sets(self, name: str) -> ShingleSets:
        return ShingleSets(self._hashes(f"{name}_flat"), self._arrays[f"{name}_offsets"].astype(np.int64))

    def _edits(self, name: str) -> EditKeys:
        if f"{name}_edit_keys" not in self._arrays:  # written before rows had such keys
            return EMPTY_KEYS
        rows = self._arrays[f"{name}_edit_rows"].astype(np.int32, copy=False)
        return EditKeys(self._arrays[f"{name}_edit_keys"].astype(np.uint64, copy=False), rows)

    def _hashes(self, name: str) -> Hashes:
        return self._arrays[name].astype(np.uint32, copy=False)


@dataclass(frozen=True, slots=True)
class IndexContent:
    """The rows of a new dataset that its index keeps; sets are row for row with `ids`."""

    ids: npt.NDArray[np.uint64]
    lines: Indices
    whole: ShingleSets
    prompts: ShingleSets
    boilerplate: Hashes
    prompt_boilerplate: Hashes
    edits: EditKeys
    prompt_edits: EditKeys  # empty in a lab without benchmarks


def write_index(
    folder: Path,
    content: IndexContent,
    trained: Indices,
    sealed: Indices,
    held_out: tuple[npt.NDArray[np.uint64], Indices],
) -> None:
    """Write index.npz; `trained` and `sealed` are rows of `content`, `held_out` the ids and lines of that whole side."""
    with zipfile.ZipFile(folder / INDEX, "w") as archive:
        for name, array in _arrays(content, trained, sealed, held_out):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _arrays(
    content: IndexContent, trained: Indices, sealed: Indices, held_out: tuple[npt.NDArray[np.uint64], Indices]
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield what `np.savez` would be given, one array after the other: each is large, and a copy."""
    yield "boilerplate", content.boilerplate
    yield "prompt_boilerplate", content.prompt_boilerplate
    yield from _side_arrays("trained", content, trained)
    sets = content.whole.take(trained)
    yield "trained_flat", sets.flat
    yield "trained_offsets", sets.offsets
    sets = content.prompts.take(trained)
    yield "trained_prompt_flat", sets.flat
    yield "trained_prompt_offsets", sets.offsets
    yield from _side_arrays("sealed", content, sealed)
    sets = content.whole.take(sealed)
    yield "sealed_flat", sets.flat
    yield "sealed_offsets", sets.offsets
    yield "held_out_ids", held_out[0]
    yield "held_out_lines", held_out[1]
    for name, rows in (("trained", trained), ("sealed", sealed)):
        edits = content.edits.take(rows, len(content.ids))
        yield f"{name}_edit_keys", edits.keys
        yield f"{name}_edit_rows", edits.rows


def _side_arrays(name: str, content: IndexContent, rows: Indices) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    yield f"{name}_ids", content.ids[rows]
    yield f"{name}_lines", content.lines[rows]


def lookup(ids: npt.NDArray[np.uint64], side: Side) -> Iterator[tuple[int, int]]:
    """Yield (place in `ids`, line in the dataset) of ids that `side` holds."""
    order = np.argsort(side.ids, kind="stable")
    known = side.ids[order]
    if len(known) == 0:
        return
    places = np.searchsorted(known, ids)
    places[places == len(known)] = 0
    for at in np.flatnonzero(known[places] == ids):
        yield int(at), int(side.lines[order[places[at]]])
