"""The word list: each word with its syllables and a clue, read from words.tsv beside this file.

Words marked `unseen` appear only in the benchmark syllo-unseen, in no training puzzle, bank or clue.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Word:
    """One word: `tiles` are its syllables in order; `clue` never holds the word, its stem or its first letters."""

    text: str
    tiles: tuple[str, ...]
    clue: str
    is_unseen: bool


@functools.lru_cache(maxsize=1)
def all_words() -> tuple[Word, ...]:
    """Return every word of the list, in alphabetical order."""
    lines = (resources.files(__package__) / "words.tsv").read_text(encoding="ascii").splitlines()
    words = []
    for line in lines[1:]:
        text, syllables, clue, use = line.split("\t")
        words.append(Word(text, tuple(syllables.split("-")), clue, is_unseen=use == "unseen"))
    return tuple(words)


@functools.lru_cache(maxsize=1)
def training_words() -> tuple[Word, ...]:
    """Return the words that training puzzles and the known benchmarks are made of."""
    return tuple(word for word in all_words() if not word.is_unseen)


@functools.lru_cache(maxsize=1)
def unseen_words() -> tuple[Word, ...]:
    """Return the words kept for the benchmark syllo-unseen."""
    return tuple(word for word in all_words() if word.is_unseen)
