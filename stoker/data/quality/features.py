"""What the review measures of every row, taken in one pass: sizes, hashed words, characters as classes.

Texts are not kept, only what is computed from them. Words are folded as the sealed split folds them, and hashes are fixed for ever,
so the same rows give the same review on every machine.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from stoker.data.quality.repetition import Loop, find_loop
from stoker.data.rows import Row
from stoker.data.sealing.shingles import row_words

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint32]
MAX_CHARS = 2000
NUM_CHAR_CLASSES = 256
_HOLLOW = frozenset(("n/a", "na", "nan", "nil", "null", "none", "todo", "tbd", "undefined", "[object object]", "asdf"))


@dataclass(frozen=True, slots=True)
class Ragged:
    """Lists of numbers end to end: list i is `flat[offsets[i]:offsets[i + 1]]`."""

    flat: npt.NDArray[np.integer]
    offsets: Ints

    def __getitem__(self, row: int) -> npt.NDArray[np.integer]:
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.integer]]:
        return (self[row] for row in range(len(self.offsets) - 1))

    @property
    def sizes(self) -> Ints:
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True)
class Features:
    """The rows in file order. `ids` is the row's id as a number; `hollow` says what is missing in an answer that says nothing."""

    ids: npt.NDArray[np.uint64]
    lines: Ints
    prompt_chars: Ints
    answer_chars: Ints
    prompts: npt.NDArray[np.uint64]
    answers: npt.NDArray[np.uint64]
    prompt_words: Ragged
    answer_words: Ragged
    characters: Ragged
    loops: dict[int, Loop]
    hollow: dict[int, str]
    echoes: tuple[int, ...]
    label_words: dict[int, str]

    def __len__(self) -> int:
        return len(self.ids)


class _Builder:
    """Collects the features row by row; `words` remembers the hashes of words."""

    def __init__(self) -> None:
        self.ids, self.lines = array("Q"), array("q")
        self.prompt_chars, self.answer_chars = array("q"), array("q")
        self.prompts, self.answers = array("Q"), array("Q")
        self.flat = {"prompt": array("I"), "answer": array("I"), "characters": array("B")}
        self.offsets = {name: array("q", [0]) for name in self.flat}
        self.loops: dict[int, Loop] = {}
        self.hollow: dict[int, str] = {}
        self.echoes: list[int] = []
        self.label_words: dict[int, str] = {}
        self._words: dict[str, int] = {}

    def add(self, row: Row) -> None:
        place = len(self.ids)
        prompt = "\n".join(message["content"] for message in row.prompt_messages())
        answer = row.answer()
        prompt_words, answer_words = row_words(row)
        if row.messages is None:
            prompt_words, answer_words = [], answer_words or prompt_words
        self.ids.append(int(row.id, 16))
        self.lines.append(row.line)
        self.prompt_chars.append(len(prompt))
        self.answer_chars.append(len(answer))
        folded_prompt, folded_answer = " ".join(prompt_words), " ".join(answer_words)
        self.prompts.append(xxhash.xxh3_64_intdigest(f"{folded_prompt}\0{row.tools or ''}".encode("utf-8", "replace")))
        self.answers.append(xxhash.xxh3_64_intdigest(folded_answer.encode("utf-8", "replace")))
        self._append("prompt", [self._hash(word) for word in prompt_words])
        self._append("answer", [self._hash(word) for word in answer_words])
        self._append("characters", _classes(answer[:MAX_CHARS]))
        if len(self.label_words) < 1000:
            self.label_words.setdefault(self.answers[-1], answer)
        self._look_at_answer(place, answer, answer_words, folded_prompt, folded_answer)

    def _look_at_answer(self, place: int, answer: str, words: list[str], prompt: str, folded: str) -> None:
        if (loop := find_loop(answer, words)) is not None:
            self.loops[place] = loop
        bare = answer.strip().lower()
        if bare.strip(".!-_ ") in _HOLLOW:
            self.hollow[place] = f"the answer is {answer.strip()[:20]!r}"
        elif bare and not any(character.isalnum() for character in bare):
            self.hollow[place] = f"the answer has no letter and no digit: {answer.strip()[:20]!r}"
        if len(words) >= 3 and folded == prompt:
            self.echoes.append(place)

    def _append(self, name: str, values: Iterable[int]) -> None:
        self.flat[name].extend(values)
        self.offsets[name].append(len(self.flat[name]))

    def _hash(self, word: str) -> int:
        found = self._words.get(word)
        if found is None:
            found = self._words[word] = xxhash.xxh32_intdigest(word.encode("utf-8", "surrogatepass"))
        return found

    def finish(self) -> Features:
        ragged = {
            name: Ragged(np.array(values, {"characters": np.uint8}.get(name, np.uint32)), np.array(self.offsets[name]))
            for name, values in self.flat.items()
        }
        return Features(
            np.array(self.ids, np.uint64), np.array(self.lines, np.int64), np.array(self.prompt_chars, np.int64),
            np.array(self.answer_chars, np.int64), np.array(self.prompts, np.uint64), np.array(self.answers, np.uint64),
            ragged["prompt"], ragged["answer"], ragged["characters"], self.loops, self.hollow, tuple(self.echoes),
            self.label_words,
        )  # fmt: skip


def measure(rows: Iterable[Row]) -> Features:
    """Return the features of rows."""
    builder = _Builder()
    for row in rows:
        builder.add(row)
    return builder.finish()


def _classes(text: str) -> bytes:
    """Return a class for each character: ASCII itself (letters folded, digits one class), the others by their block."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
    is_digit = (codes >= 48) & (codes <= 57)
    classes = np.where(codes < 128, np.where(is_digit, 48, codes), 128 + (codes >> 7) % 128)
    return classes.astype(np.uint8).tobytes()
