"""Puzzles: clues with one blank per syllable and a shuffled bank of tiles, the same for the same seed everywhere.

A puzzle's bank holds one tile for every blank (a syllable that two words share is there twice) and the level's
red herrings. The gold answer obeys the contract that the prompt states. No two puzzles of one call hold the same set of words.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.errors import InvalidInput
from stoker.tasks.syllo.words import Word, training_words

# Short, because every row pays for it; tiles stand apart by blanks in bank and answer alike, so that a tokenizer
# that takes the blank into a word gives a tile the same token in both.
INSTRUCTION = "Fill each blank with a tile, each tile once at most. Answer like: 1. syl la ble"

WordSet = frozenset[str]


@dataclass(frozen=True, slots=True)
class Level:
    """How hard a puzzle is: ranges are inclusive; `syllables` weighs words by their number of tiles."""

    num_words: tuple[int, int]
    syllables: tuple[tuple[int, float], ...]
    num_red_herrings: tuple[int, int]
    shares_tiles: bool = False


LEVELS = {
    "easy": Level(num_words=(3, 4), syllables=((2, 1.0),), num_red_herrings=(0, 0)),
    "medium": Level(num_words=(5, 6), syllables=((2, 0.6), (3, 0.4)), num_red_herrings=(1, 2)),
    "hard": Level(
        num_words=(6, 8), syllables=((2, 0.2), (3, 0.5), (4, 0.3)), num_red_herrings=(3, 4), shares_tiles=True
    ),
    "unseen": Level(num_words=(3, 4), syllables=((2, 0.5), (3, 0.3), (4, 0.2)), num_red_herrings=(0, 0)),
}
MIXED = {"easy": 0.5, "medium": 0.3, "hard": 0.2}

# Half of a hard puzzle's words are picked for a tile that the bank already holds; all of them would make the
# words of a puzzle predictable from one another.
SHARING_PROBABILITY = 0.5
# A level whose words are nearly used up would otherwise draw known sets forever.
MAX_DRAWS_PER_PUZZLE = 1000


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One puzzle: `bank` is the shuffled tiles, red herrings among them."""

    level: str
    words: tuple[Word, ...]
    bank: tuple[str, ...]

    @property
    def word_set(self) -> WordSet:
        return frozenset(word.text for word in self.words)

    @property
    def prompt(self) -> str:
        clues = "\n".join(
            f"{number}. {word.clue}: {' '.join('__' for _ in word.tiles)}" for number, word in enumerate(self.words, 1)
        )
        return f"{INSTRUCTION}\n{clues}\nTiles: {' '.join(self.bank)}"

    @property
    def answer(self) -> str:
        return "\n".join(f"{number}. {' '.join(word.tiles)}" for number, word in enumerate(self.words, 1))

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.prompt}\n\n{self.answer}".encode()).hexdigest()[:16]

    def to_row_json(self) -> dict[str, str]:
        """Return the line of a training file."""
        return {"prompt": self.prompt, "answer": self.answer}

    def to_item_json(self) -> dict[str, Any]:
        """Return the line of a benchmark file; `meta` is what the scorer needs."""
        meta = {
            "words": [word.text for word in self.words],
            "blanks": [len(word.tiles) for word in self.words],
            "bank": list(self.bank),
        }
        return {
            "id": self.id,
            "prompt": self.prompt,
            "answer": self.answer,
            "category": f"{len(self.words)} words",
            "meta": meta,
        }


def generate_puzzles(
    num: int,
    seed: int,
    level: str = "mixed",
    words: Sequence[Word] | None = None,
    exclude: Collection[WordSet] = (),
) -> Iterator[Puzzle]:
    """Yield `num` puzzles of `level` (a name of LEVELS, or "mixed") with distinct sets of words, none of `exclude`.

    `words` defaults to the training words. Raises InvalidInput when the level is unknown or the words run out.
    """
    if level != "mixed" and level not in LEVELS:
        raise InvalidInput(f"no SYLLO level {level!r}", f"levels are {', '.join(LEVELS)}, mixed")
    pool = _Pool.of(tuple(training_words() if words is None else words))
    pool.require(level)
    rng = random.Random(f"syllo/{level}/{seed}")
    used: set[WordSet] = set(exclude)
    for made in range(num):
        for _ in range(MAX_DRAWS_PER_PUZZLE):
            name = rng.choices(tuple(MIXED), tuple(MIXED.values()))[0] if level == "mixed" else level
            puzzle = _draw(rng, name, pool)
            if puzzle.word_set not in used:
                break
        else:
            raise InvalidInput(
                f"only {made:,} of {num:,} {level} puzzles could be made",
                "no two puzzles of a file hold the same set of words, and benchmark puzzles are left out",
                "ask for fewer puzzles or another level",
            )
        used.add(puzzle.word_set)
        yield puzzle


def _draw(rng: random.Random, name: str, pool: _Pool) -> Puzzle:
    level = LEVELS[name]
    words: list[Word] = []
    bank: list[str] = []
    num_words = rng.randint(*level.num_words)
    while len(words) < num_words:
        word = _draw_word(rng, level, pool, bank)
        if word not in words:
            words.append(word)
            bank += word.tiles
    num_red_herrings = rng.randint(*level.num_red_herrings)
    while num_red_herrings:
        tile = rng.choice(pool.tiles)
        if tile not in bank:
            bank.append(tile)
            num_red_herrings -= 1
    rng.shuffle(words)
    rng.shuffle(bank)
    return Puzzle(name, tuple(words), tuple(bank))


def _draw_word(rng: random.Random, level: Level, pool: _Pool, bank: list[str]) -> Word:
    if level.shares_tiles and bank and rng.random() < SHARING_PROBABILITY:
        sharing = pool.by_tile[rng.choice(bank)]
        if len(sharing) > 1:
            return rng.choice(sharing)
    counts, weights = zip(*level.syllables, strict=True)
    return rng.choice(pool.by_num_tiles[rng.choices(counts, weights)[0]])


@dataclass(frozen=True)
class _Pool:
    """The words of a generator, indexed by number of tiles and by tile."""

    by_num_tiles: dict[int, list[Word]]
    by_tile: dict[str, list[Word]]
    tiles: list[str]

    def require(self, level: str) -> None:
        """Raise InvalidInput when a puzzle of `level` might not find enough different words."""
        for name in MIXED if level == "mixed" else (level,):
            needed = LEVELS[name].num_words[1]
            for num_tiles, _ in LEVELS[name].syllables:
                found = len(self.by_num_tiles.get(num_tiles, ()))
                if found < needed:
                    raise InvalidInput(
                        f"{found} words of {num_tiles} syllables for SYLLO level {name}",
                        f"the level draws up to {needed} of them for one puzzle",
                        "give the generator more words",
                    )

    @staticmethod
    @functools.lru_cache(maxsize=8)
    def of(words: tuple[Word, ...]) -> _Pool:
        by_num_tiles: dict[int, list[Word]] = {}
        by_tile: dict[str, list[Word]] = {}
        for word in words:
            by_num_tiles.setdefault(len(word.tiles), []).append(word)
            for tile in dict.fromkeys(word.tiles):
                by_tile.setdefault(tile, []).append(word)
        return _Pool(by_num_tiles, by_tile, sorted(by_tile))
