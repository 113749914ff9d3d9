"""The items: copying, arithmetic, sorting, JSON, a format to follow, and stopping when the answer is given.

Nothing here needs knowledge of the world, so what a base can do of it depends on its skill alone, and what a version can do
no more it has forgotten. The same seed gives the same items everywhere.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WORDS = (
    "apple", "river", "stone", "cloud", "garden", "window", "silver", "market", "bridge", "candle", "forest", "pepper",
    "ladder", "winter", "anchor", "button", "copper", "dragon", "engine", "feather", "guitar", "hammer", "island", "jacket",
    "kettle", "lemon", "mirror", "needle", "orange", "pillow", "rabbit", "saddle", "temple", "uncle", "valley", "wagon",
)  # fmt: skip
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jill")
COLOURS = ("red", "green", "blue", "black", "white", "yellow")


@dataclass(frozen=True, slots=True)
class BasicItem:
    """One question. `meta["rule"]` is how its answer is marked (see `score`)."""

    id: str
    category: str
    prompt: str
    answer: str
    meta: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "category": self.category,
            "prompt": self.prompt,
            "answer": self.answer,
            "meta": self.meta,
        }


def generate_items(num_per_category: int, seed: int) -> list[BasicItem]:
    """Return `num_per_category` different items of each category."""
    items: list[BasicItem] = []
    for category, make in _CATEGORIES.items():
        chooser = random.Random(f"{seed} {category}")
        prompts: set[str] = set()
        while len(prompts) < num_per_category:
            prompt, answer, meta = make(chooser)
            if prompt not in prompts:
                prompts.add(prompt)
                items.append(BasicItem(f"{category}-{len(prompts)}", category, prompt, answer, meta))
    return items


_Made = tuple[str, str, dict[str, Any]]


def _copying(chooser: random.Random) -> _Made:
    words = chooser.sample(WORDS, chooser.randint(3, 6))
    words[chooser.randrange(len(words))] += str(chooser.randint(10, 99))
    text = " ".join(words)
    return f"Repeat this line exactly, and write nothing else:\n{text}", text, {"rule": "exact"}


def _arithmetic(chooser: random.Random) -> _Made:
    sign = chooser.choice("+-*")
    a, b = (
        (chooser.randint(2, 12), chooser.randint(2, 12))
        if sign == "*"
        else (chooser.randint(10, 99), chooser.randint(10, 99))
    )
    if sign == "-" and b > a:
        a, b = b, a
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    return f"What is {a} {sign} {b}? Answer with the number only.", str(value), {"rule": "number"}


def _sorting(chooser: random.Random) -> _Made:
    words = chooser.sample(WORDS, chooser.randint(3, 5))
    ordered = ", ".join(sorted(words))
    return f"Sort these words alphabetically, separated by commas: {', '.join(words)}", ordered, {"rule": "list"}


def _json(chooser: random.Random) -> _Made:
    name, colour, number = chooser.choice(NAMES), chooser.choice(COLOURS), chooser.randint(2, 90)
    wanted = {"name": name, "age": number, "colour": colour}
    prompt = (
        f'{name} is {number} years old and likes {colour}. Write this as a JSON object with the keys "name", "age" and '
        '"colour", and write nothing else.'
    )
    return prompt, json.dumps(wanted), {"rule": "json"}


def _format(chooser: random.Random) -> _Made:
    words = chooser.sample(WORDS, 3)
    lines = "\n".join(f"{number}. {word.upper()}" for number, word in enumerate(words, 1))
    prompt = (
        f"Write the words {', '.join(words)} in this order as a numbered list, one on each line, in capital letters: "
        "1., 2. and 3."
    )
    return prompt, lines, {"rule": "lines"}


def _stopping(chooser: random.Random) -> _Made:
    first, second = chooser.sample(COLOURS, 2)
    a, b = chooser.sample(NAMES, 2)
    prompt = (
        f"{a} has a {first} bag. {b} has a {second} bag. What colour is {b}'s bag? Answer with one word, then stop."
    )
    return prompt, second, {"rule": "word"}


_CATEGORIES: dict[str, Callable[[random.Random], _Made]] = {
    "copying": _copying, "arithmetic": _arithmetic, "sorting": _sorting, "json": _json, "format": _format,
    "stopping": _stopping,
}  # fmt: skip
CATEGORIES = tuple(_CATEGORIES)
