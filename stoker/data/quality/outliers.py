"""Answers that are unlike the file's other answers: in length, in proportion to their prompt, in their characters, or broken.

Lengths and proportions are heavy-tailed, so they are compared as logarithms and never enough for "remove". Letters are compared by
how well the file's own pairs of letters predict them (a bigram model with the row's own pairs left out); digits and signs don't
count, or every table and formula would stand out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stoker.data.quality.features import NUM_CHAR_CLASSES, Features, Ragged
from stoker.data.quality.robust import robust_z, robust_z_among_alike
from stoker.data.quality.signals import Signal

Floats = npt.NDArray[np.float64]
MIN_ROWS = 50
FAR_Z, VERY_FAR_Z = 5.0, 8.0
LEAST_LOG_SPREAD = 0.25
GARBLED_Z, GARBLED_NATS = 6.0, 0.8
MIN_PAIRS, MIN_LETTERS = 12, 25
RANDOM_COINCIDENCE = 0.053
RARE_LABEL_SHARE = 0.01
UNKNOWN_SHARE, KNOWN_PROMPT_SHARE, MIN_UNKNOWN_WORDS = 0.75, 0.5, 3
_LOOP_MOST, _LOOP_PART = 0.5, 0.25
_SMOOTHING = 0.05
_A, _Z = ord("a"), ord("z")


def find_outliers(features: Features, *, has_labels: bool) -> Iterator[Signal]:
    """Yield the signals of single answers; in a file of labels lengths and characters say nothing."""
    yield from _broken(features, has_labels=has_labels)
    if has_labels or len(features) < MIN_ROWS:
        return
    yield from _sizes(features)
    yield from _garbled(features)


def _broken(features: Features, *, has_labels: bool) -> Iterator[Signal]:
    for row, loop in features.loops.items():
        strength = 0.9 if loop.share >= _LOOP_MOST else 0.5 if loop.share >= _LOOP_PART else 0.0
        if strength:
            words = f"the answer is a loop: {loop.unit[:40]!r} {loop.repeats} times, {loop.share:.0%} of it"
            yield Signal(row, "loop", strength, words)
    counts = dict(zip(*np.unique(features.answers, return_counts=True), strict=True)) if has_labels else {}
    for row, what in features.hollow.items():
        if counts.get(features.answers[row], 0) < RARE_LABEL_SHARE * len(features):  # "none" may well be a label
            yield Signal(row, "hollow", 0.7, what)
    for row in features.echoes:
        yield Signal(row, "echo", 0.7, "the answer is the question again")


def _sizes(features: Features) -> Iterator[Signal]:
    chars = features.answer_chars.astype(np.float64)
    is_said = chars > 0
    length = np.where(is_said, np.log1p(chars), np.nan)
    typical = float(np.median(chars[is_said])) if is_said.any() else 0.0
    z = robust_z(length, LEAST_LOG_SPREAD)
    for row in np.flatnonzero(np.abs(z) >= FAR_Z).tolist():
        strength = 0.5 if abs(z[row]) >= VERY_FAR_Z else 0.4
        side = "long" if z[row] > 0 else "short"
        words = (
            f"the answer is unusually {side}: {int(chars[row]):,} characters, half of the file has up to {typical:,.0f}"
        )
        yield Signal(row, side, strength, words)
    has_prompt = is_said & (features.prompt_chars > 0)
    ratio = np.where(has_prompt, np.log1p(chars) - np.log1p(features.prompt_chars), np.nan)
    z = robust_z(ratio, 2 * LEAST_LOG_SPREAD)
    for row in np.flatnonzero(np.abs(z) >= FAR_Z).tolist():
        size = f"{int(chars[row]):,} characters for a prompt of {int(features.prompt_chars[row]):,}"
        yield Signal(row, "ratio", 0.4, f"the answer's length is out of proportion: {size}")


def _garbled(features: Features) -> Iterator[Signal]:
    surprise, num_pairs = _surprise(features.characters)
    is_long = num_pairs >= MIN_PAIRS
    surprise[~is_long] = np.nan
    z = robust_z_among_alike(surprise, num_pairs.astype(np.float64), 0.05)
    typical = float(np.nanmedian(surprise)) if is_long.any() else 0.0
    unknown = None
    for row in np.flatnonzero((z >= GARBLED_Z) & (surprise - typical >= GARBLED_NATS)).tolist():
        unknown = _UnknownWords(features) if unknown is None else unknown
        answer, prompt = unknown.share(features.answer_words[row]), unknown.share(features.prompt_words[row])
        is_random = _is_random(features.characters[row])
        if answer < UNKNOWN_SHARE or not (is_random or len(features.answer_words[row]) >= MIN_UNKNOWN_WORDS):
            continue
        words = f"its letters follow each other as nowhere else in the file (z {z[row]:.0f}), and {answer:.0%} of its words are in no other row"
        if prompt <= KNOWN_PROMPT_SHARE and is_random:
            yield Signal(row, "garbled", 0.85, f"the answer looks like random letters: {words}")
        else:
            yield Signal(
                row, "foreign", 0.4, f"the answer may be in another language than the file's, or damaged: {words}"
            )


def _is_random(characters: npt.NDArray[np.integer]) -> bool:
    """Tell letters drawn at random from those of a language, by the index of coincidence (Friedman 1922).

    The chance that two letters of a text are equal: 0.065 to 0.08 in languages in Latin letters, 1/26 = 0.038 at random.
    """
    counts = np.bincount(characters[(characters >= _A) & (characters <= _Z)] - _A, minlength=26)
    num = int(counts.sum())
    if num < MIN_LETTERS or num < 0.8 * _is_letter(characters).sum():
        return False
    return float((counts * (counts - 1)).sum()) / (num * (num - 1)) <= RANDOM_COINCIDENCE


def _is_letter(characters: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    return ((characters >= _A) & (characters <= _Z)) | (characters >= 128)


class _UnknownWords:
    """How many of some words stand in no other row."""

    def __init__(self, features: Features) -> None:
        distinct = [np.unique(np.concatenate(pair)) for pair in zip(features.prompt_words, features.answer_words, strict=True)]  # fmt: skip
        values, counts = np.unique(np.concatenate(distinct), return_counts=True)
        self._single = values[counts == 1]

    def share(self, words: npt.NDArray[np.integer]) -> float:
        return float(np.isin(words, self._single).mean()) if len(words) else 0.0


def _surprise(characters: Ragged) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the mean of -ln p(letter | the letter before) of each row, in nats, and how many such pairs it has."""
    flat, num_rows = characters.flat.astype(np.int64), len(characters.sizes)
    row_of_each = np.repeat(np.arange(num_rows), characters.sizes)
    is_letter = _is_letter(flat)
    is_pair = (row_of_each[1:] == row_of_each[:-1]) & is_letter[1:] & is_letter[:-1]
    pairs, rows = (flat[:-1] * NUM_CHAR_CLASSES + flat[1:])[is_pair], row_of_each[1:][is_pair]
    counts = np.bincount(pairs, minlength=NUM_CHAR_CLASSES**2).astype(np.float64)
    firsts = counts.reshape(NUM_CHAR_CLASSES, -1).sum(axis=1)
    total = np.zeros(num_rows)
    for start, end in _portions(rows):
        own = pairs[start:end] + rows[start:end] * NUM_CHAR_CLASSES**2
        distinct, inverse, num_own = np.unique(own, return_inverse=True, return_counts=True)
        pair = distinct % NUM_CHAR_CLASSES**2
        seen = counts[pair] - num_own + _SMOOTHING
        nll = np.log(firsts[pair // NUM_CHAR_CLASSES] + _SMOOTHING * NUM_CHAR_CLASSES) - np.log(seen)
        total += np.bincount(rows[start:end], nll[inverse], minlength=num_rows)
    num_pairs = np.bincount(rows, minlength=num_rows)
    return np.asarray(total / np.maximum(num_pairs, 1)), num_pairs


def _portions(rows: npt.NDArray[np.int64], size: int = 4_000_000) -> Iterator[tuple[int, int]]:
    """Yield stretches of about `size` pairs that cut no row."""
    start = 0
    while start < len(rows):
        end = min(start + size, len(rows))
        end = int(np.searchsorted(rows, rows[end - 1], side="right"))
        yield start, end
        start = end
