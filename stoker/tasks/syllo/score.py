"""Marks for one answer to a puzzle, each from 0 to 1: format, words, tiles, puzzle.

The answer is parsed first and leniently, so that a slip in the format does not hide right words; the format has a mark of its
own. Any tiles of the bank that join to the right word are right, whichever segmentation they make. Nothing in an answer raises.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoker.errors import DataError

# Far beyond the longest right answer (8 lines of 30 characters); what follows is not read.
MAX_ANSWER_CHARACTERS = 20_000

_CONTRACT_LINE = re.compile(r"[1-9][0-9]?\. [a-z]+(?: [a-z]+)*")
_LENIENT_LINE = re.compile(r"\W*([0-9]{1,2})\s*[.):]\s*(.*)")
_TILE = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    tiles: tuple[str, ...]
    is_contract: bool


def score_answer(meta: Mapping[str, Any], answer: str) -> dict[str, float]:
    """Return the marks of `answer`.

    format: share of clue lines, extra lines counted in, that read `1. gar den` with one tile per blank, each number once.
    words: share of clues whose first line joins to the right word. tiles: share of the used tiles that the bank
    covers, each as often as it holds it. puzzle: 1 when all three are whole, else 0. Raises DataError for a `meta` that lacks a key.
    """
    words, blanks, bank = _read_meta(meta)
    text = answer[: MAX_ANSWER_CHARACTERS + 1]
    raw_lines = [line for line in text.split("\n") if line.strip()]
    lines = [line for line in map(_parse_line, raw_lines) if line is not None]

    first: dict[int, _Line] = {}
    for line in lines:
        first.setdefault(line.number, line)
    slots = [first.get(number) for number in range(1, len(words) + 1)]

    num_in_format = sum(
        slot is not None and slot.is_contract and len(slot.tiles) == num_tiles
        for slot, num_tiles in zip(slots, blanks, strict=True)
    )
    num_right = sum(slot is not None and "".join(slot.tiles) == word for slot, word in zip(slots, words, strict=True))
    used = Counter(tile for line in lines for tile in line.tiles)
    num_expected = max(len(words), len(raw_lines), 1)
    marks = {
        "format": num_in_format / num_expected if len(text) <= MAX_ANSWER_CHARACTERS else 0.0,
        "words": num_right / max(len(words), 1),
        "tiles": (used & bank).total() / used.total() if used else 0.0,
    }
    return {**marks, "puzzle": float(all(mark == 1.0 for mark in marks.values()))}


def _parse_line(raw: str) -> _Line | None:
    raw = raw.rstrip()
    match = _LENIENT_LINE.fullmatch(raw)
    if match is None:
        return None
    tiles = tuple(_TILE.findall(match[2].lower()))
    return _Line(int(match[1]), tiles, is_contract=_CONTRACT_LINE.fullmatch(raw) is not None)


def _read_meta(meta: Mapping[str, Any]) -> tuple[list[str], list[int], Counter[str]]:
    values = [meta.get(key) for key in ("words", "blanks", "bank")]
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) < len(values) or not lists[0] or len(lists[0]) != len(lists[1]):
        raise DataError(
            "a syllo item's meta is not whole",
            "it holds words, blanks (how many tiles each word has) and bank, as lists",
            "write the benchmark anew with stoker.tasks.syllo.install",
        )
    words, blanks, bank = lists
    return words, blanks, Counter(bank)
