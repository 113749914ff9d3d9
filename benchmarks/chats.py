"""Chat rows for the intake benchmark: about 500 bytes each, words and stock phrases drawn from a
Zipf distribution, 1 % exact and 1 % near duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

_WORDS, _PHRASES = 30_000, 10_000
_SYLLABLES = (
    "ba",
    "co",
    "den",
    "fi",
    "gar",
    "hel",
    "in",
    "ja",
    "ko",
    "lum",
    "mer",
    "no",
    "or",
    "pen",
    "qui",
    "ros",
    "sta",
    "ter",
    "un",
    "vel",
)
_ACCENTED_SHARE, _COPY_SHARE = 0.03, 0.01
_BLOCK = 10_000


def write_chats(path: Path, num: int, seed: int = 0) -> None:
    """Write `num` rows in the OpenAI format."""
    rng = np.random.default_rng(seed)
    vocabulary = _vocabulary(rng)
    shares = 1 / (np.arange(len(vocabulary)) + 20)
    shares /= shares.sum()
    with path.open("wb") as file:
        block: list[list[list[str]]] = []
        for start in range(0, num, _BLOCK):
            block = _block(rng, vocabulary, shares, min(_BLOCK, num - start), block)
            file.writelines(_line(question, answer) for question, answer in block)


def _vocabulary(rng: np.random.Generator) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < _WORDS:
        words["".join(rng.choice(_SYLLABLES, rng.integers(1, 6)))[: rng.integers(2, 10)]] = None
    alone = list(words)
    phrases = [" ".join(rng.choice(alone, rng.integers(2, 6))) for _ in range(_PHRASES)]
    mixed = [*alone, *phrases]
    return [mixed[i] for i in rng.permutation(len(mixed))]


def _block(
    rng: np.random.Generator, vocabulary: list[str], shares: np.ndarray, num: int, earlier: list[list[list[str]]]
) -> list[list[list[str]]]:
    """Make rows as words of question and answer; some copy an earlier row, exactly or with one word changed."""
    sizes = np.stack((rng.integers(3, 16, num), rng.integers(6, 36, num)))
    drawn = iter(np.split(rng.choice(len(vocabulary), int(sizes.sum()), p=shares), np.cumsum(sizes.T.ravel())[:-1]))
    chance = rng.random(num)
    rows: list[list[list[str]]] = []
    for i in range(num):
        row = [[vocabulary[word] for word in next(drawn)] for _ in range(2)]
        if chance[i] < _ACCENTED_SHARE:
            row[1][0] += "é’s"
        elif chance[i] > 1 - 2 * _COPY_SHARE and (rows or earlier):
            source = rows if rows else earlier
            row = [words[:] for words in source[int(rng.integers(len(source)))]]
            if chance[i] > 1 - _COPY_SHARE:
                row[1][int(rng.integers(len(row[1])))] = "changed"
        rows.append(row)
    return rows


def _line(question: list[str], answer: list[str]) -> bytes:
    turns = [
        {"role": "user", "content": _sentences(question) + "?"},
        {"role": "assistant", "content": _sentences(answer) + "."},
    ]
    return orjson.dumps({"messages": turns}, option=orjson.OPT_APPEND_NEWLINE)


def _sentences(words: list[str]) -> str:
    parts = [" ".join(words[start : start + 12]).capitalize() for start in range(0, len(words), 12)]
    return ", and ".join(parts[:2]) + "".join(f". {part}" for part in parts[2:])
