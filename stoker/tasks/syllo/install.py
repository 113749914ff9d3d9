"""Writes SYLLO's files: the frozen benchmarks of a lab, and training files that never hold a benchmark puzzle.

A benchmark is frozen: its seed stands here, and a test holds the SHA-256 of each file, so that scores of any two
versions of Stoker compare. A change of words.tsv, of the prompt or of the generator is therefore a change of the benchmarks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import orjson

from stoker.durable import write_atomic
from stoker.errors import InvalidInput
from stoker.tasks.syllo.generate import LEVELS, Puzzle, WordSet, generate_puzzles
from stoker.tasks.syllo.words import training_words, unseen_words

NUM_ITEMS = 100
TRAINING_LEVELS = ("easy", "medium", "hard", "mixed")


@dataclass(frozen=True, slots=True)
class Frozen:
    """What makes a benchmark: a level of the generator and a seed of its own."""

    level: str
    seed: int
    description: str


BENCHMARKS = {
    "syllo-easy": Frozen("easy", 1001, "3-4 words of two syllables, no red herrings"),
    "syllo-medium": Frozen("medium", 1002, "5-6 words of two or three syllables, 1-2 red herrings"),
    "syllo-hard": Frozen("hard", 1003, "6-8 words of two to four syllables that share tiles, 3-4 red herrings"),
    "syllo-unseen": Frozen("unseen", 1004, "3-4 words that never appear in training, no red herrings"),
}


@functools.lru_cache(maxsize=len(BENCHMARKS))
def benchmark_puzzles(name: str) -> tuple[Puzzle, ...]:
    """Return the puzzles of a frozen benchmark."""
    frozen = BENCHMARKS[name]
    words = unseen_words() if frozen.level == "unseen" else training_words()
    return tuple(generate_puzzles(NUM_ITEMS, frozen.seed, frozen.level, words))


@functools.lru_cache(maxsize=1)
def benchmark_word_sets() -> frozenset[WordSet]:
    """Return the sets of words that training puzzles must not have."""
    return frozenset(puzzle.word_set for name in BENCHMARKS for puzzle in benchmark_puzzles(name))


def write_benchmarks(folder: Path) -> list[Path]:
    """Write NAME.jsonl and NAME.toml of every SYLLO benchmark into `folder`; return the .jsonl paths."""
    paths = []
    for name, frozen in BENCHMARKS.items():
        path = folder / f"{name}.jsonl"
        items = (orjson.dumps(puzzle.to_item_json()) + b"\n" for puzzle in benchmark_puzzles(name))
        header = f'scorer = "syllo"\ndescription = "SYLLO: {frozen.description}"\nlicence = "Apache-2.0"\n'
        # The header first: items without their scorer would be marked by the default one.
        write_atomic(path.with_suffix(".toml"), header.encode(), fault="benchmark")
        write_atomic(path, b"".join(items), fault="benchmark")
        paths.append(path)
    return paths


def write_training_file(path: Path, num: int, seed: int, level: str = "easy") -> None:
    """Write `num` training puzzles as JSONL lines of prompt and answer.

    No line holds an unseen word or the set of words of a benchmark puzzle, and no two lines the same set. Raises
    InvalidInput for an unknown level or more puzzles than the words give.
    """
    if level not in TRAINING_LEVELS:
        known = [name for name in LEVELS if name in TRAINING_LEVELS]
        raise InvalidInput(f"no SYLLO level {level!r} to train on", f"levels are {', '.join(known)}, mixed")
    puzzles = generate_puzzles(num, seed, level, training_words(), exclude=benchmark_word_sets())
    write_atomic(
        path, b"".join(orjson.dumps(puzzle.to_row_json()) + b"\n" for puzzle in puzzles), fault="training-file"
    )
