"""Files with leaks planted in them: rows of the test side of a lab, edited to hide what they are, among fresh rows.

An exact leak says the same words in other case, spacing, punctuation or format. A near leak has other words; how near it is
is measured here, by the Jaccard similarity of word triples, with a second implementation that knows nothing of templates.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from small_lab import SmallLab

from stoker.data.dataset import Dataset

Turns = list[dict[str, str]]
Maker = Callable[[random.Random], Turns]

FUNCTION_WORDS = (
    "the", "a", "of", "and", "to", "in", "is", "was", "it", "for", "on", "with", "as", "that", "by", "at", "from", "this",
    "not", "are", "he", "she", "they", "we", "you",
)  # fmt: skip
WORDS = [f"{a}{b}{c}{d}" for a in "bcdfghjklmnprstvw" for b in "aeiou" for c in "dlmnrst" for d in "aeiou"]
LABELS = ("praise", "complaint", "question", "order")
SYSTEMS = ("You are a helpful shop assistant. Answer in one or two sentences.", "Be brief and kind to whoever asks.")


def sentence(draw: random.Random, low: int, high: int) -> str:
    """Return words in rough natural proportion: every third one of a few, the rest seldom the same."""
    words = [
        draw.choice(FUNCTION_WORDS) if draw.random() < 0.35 else WORDS[int(draw.paretovariate(0.6)) % len(WORDS)]
        for _ in range(draw.randint(low, high))
    ]
    return " ".join(words).capitalize() + draw.choice("..!?")


def chat(draw: random.Random) -> Turns:
    turns = [{"role": "system", "content": draw.choice(SYSTEMS)}] if draw.random() < 0.5 else []
    for _ in range(draw.choice((1, 1, 2, 3))):
        turns.append({"role": "user", "content": sentence(draw, 6, 25)})
        turns.append(
            {"role": "assistant", "content": " ".join(sentence(draw, 5, 20) for _ in range(draw.choice((1, 2, 3))))}
        )
    return turns


def instruction(draw: random.Random) -> Turns:
    asked = draw.choice(("Rewrite this text:", "Summarise the following.", "Explain what is meant by this:"))
    return question(f"{asked}\n{sentence(draw, 10, 50)}", sentence(draw, 8, 40))


def classification(draw: random.Random) -> Turns:
    asked = "Which of praise, complaint, question or order is this message? Message:"
    return question(f"{asked} {sentence(draw, 8, 30)}", draw.choice(LABELS))


def short(draw: random.Random) -> Turns:
    return question(sentence(draw, 4, 7), sentence(draw, 1, 3))


def question(asked: str, answer: str) -> Turns:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


MAKERS: dict[str, Maker] = {"chat": chat, "instruction": instruction, "classification": classification, "short": short}


# Edits that change no word.


def upper(draw: random.Random, text: str) -> str:
    return draw.choice((str.upper, str.lower, str.title, str.swapcase))(text)


def respaced(draw: random.Random, text: str) -> str:
    return re.sub(" ", lambda _: draw.choice(("  ", "\n", "\t", " \u00a0", " ")), f" {text}\n")


def spaced_inside(draw: random.Random, text: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[a-z])", lambda _: " " if draw.random() < 0.1 else "", text)


def punctuated(draw: random.Random, text: str) -> str:
    return "".join(draw.choice(("...", " -", "", ";")) if char in ".!?,:" else char for char in text).replace(
        " ", ", ", 1
    )


# Edits that change words.


def changed(num: int) -> Callable[[random.Random, str], str]:
    def edit(draw: random.Random, text: str) -> str:
        words = text.split(" ")
        for place in draw.sample(range(len(words)), min(num, len(words))):
            words[place] = draw.choice(WORDS) + "x"
        return " ".join(words)

    return edit


def with_clause(draw: random.Random, text: str) -> str:
    return f"{text} And so on, as I said before."


def dropped(share: float) -> Callable[[random.Random, str], str]:
    def edit(draw: random.Random, text: str) -> str:
        words = text.split(" ")
        gone = set(draw.sample(range(len(words)), max(1, round(share * len(words)))))
        return " ".join(word for place, word in enumerate(words) if place not in gone)

    return edit


Edit = Callable[[random.Random, str], str]
EXACT: dict[str, Edit] = {
    "as it is": lambda _, text: text, "other case": upper, "other spacing": respaced,
    "spaces inside words": spaced_inside, "other punctuation": punctuated,
}  # fmt: skip
NEAR: dict[str, Edit] = {
    "one word changed": changed(1), "two words changed": changed(2), "five words changed": changed(5),
    "a clause added": with_clause, "5 % of words dropped": dropped(0.05), "15 % of words dropped": dropped(0.15),
    "30 % of words dropped": dropped(0.3),
}  # fmt: skip
OTHER_ANSWER = "another answer"


@dataclass
class Outcome:
    """Of each kind of leak, how many were planted and how many of them train; the near ones with their similarity."""

    exact: dict[str, tuple[int, int]] = field(default_factory=dict)
    near: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)  # similarity, was it found
    num_fresh: int = 0
    num_fresh_lost: int = 0

    def share_of_exact(self) -> float:
        planted = sum(number for number, _ in self.exact.values())
        return 1 - sum(leaked for _, leaked in self.exact.values()) / planted

    def found(self, low: float, high: float = 1.01) -> tuple[int, int]:
        """Return how many near leaks of a similarity in [low, high) were found, and of how many."""
        chosen = [is_found for leaks in self.near.values() for score, is_found in leaks if low <= score < high]
        return sum(chosen), len(chosen)


def plant(lab: SmallLab, maker: Maker, num_rows: int, seed: int, *, in_benchmark: bool = False) -> Outcome:
    """Seal rows of a first file (or freeze a benchmark of such rows), then take in a second that holds them edited."""
    draw = random.Random(seed)
    first = lab.take_rows([{"messages": maker(draw)} for _ in range(num_rows)], "first.jsonl")
    if in_benchmark:
        sealed = [maker(draw) for _ in range(60)]
        path = lab.root / "quiz.jsonl"
        items = [{"messages": turns[:-1], "answer": turns[-1]["content"]} for turns in sealed]
        path.write_bytes(b"\n".join(map(orjson.dumps, items)))
        lab.benchmarks = [path]
    else:
        sealed = [[dict(turn) for turn in row.messages or ()] for row in first.heldout_rows()]
    leaks = [(kind, turns, edited) for turns in sealed for kind, edited in _edits(draw, turns, maker)]
    fresh = [maker(draw) for _ in range(num_rows // 2)]
    records = [_written(draw, turns) for _, _, turns in leaks] + [{"messages": turns} for turns in fresh]
    order = list(range(len(records)))
    draw.shuffle(order)
    trained = {
        order[row.line - 1] for row in lab.take_rows([records[place] for place in order], "second.jsonl").train_rows()
    }
    outcome = Outcome(num_fresh=len(fresh))
    outcome.num_fresh_lost = _num_lost(lab, order, len(leaks))
    for place, (kind, turns, edited) in enumerate(leaks):
        if kind in EXACT:
            planted, leaked = outcome.exact.get(kind, (0, 0))
            outcome.exact[kind] = (planted + 1, leaked + (place in trained))
        else:
            outcome.near.setdefault(kind, []).append((similarity(turns, edited), place not in trained))
    return outcome


def similarity(one: Turns, other: Turns) -> float:
    """Return the Jaccard similarity of the word triples of two conversations."""
    a, b = _triples(one), _triples(other)
    return len(a & b) / len(a | b)


def _edits(draw: random.Random, turns: Turns, maker: Maker) -> Iterable[tuple[str, Turns]]:
    for kind, edit in EXACT.items():
        yield kind, [{**turn, "content": edit(draw, turn["content"])} for turn in turns]
    for kind, edit in NEAR.items():
        place = draw.choice([i for i, turn in enumerate(turns) if turn["role"] != "system"])
        edited = edit(draw, turns[place]["content"])
        if edited.strip():
            yield kind, [{**turn, "content": edited} if i == place else turn for i, turn in enumerate(turns)]
    yield OTHER_ANSWER, [*turns[:-1], {"role": "assistant", "content": maker(draw)[-1]["content"]}]


def _written(draw: random.Random, turns: Turns) -> dict[str, Any]:
    """Return a conversation as a record of one of the formats that hold it."""
    forms: list[dict[str, Any]] = [{"messages": turns}]
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    forms.append({"conversations": [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]})
    if len(turns) == 2:
        asked, answer = (turn["content"] for turn in turns)
        forms += [{"instruction": asked, "output": answer}, {"prompt": asked, "completion": answer}]
        forms.append({"question": asked, "answer": answer, "id": draw.randrange(10**9)})
    return draw.choice(forms)


def _num_lost(lab: SmallLab, order: list[int], num_leaks: int) -> int:
    taken = ("near-sealed", "sealed-copy", "benchmark-overlap")
    ledger = Dataset(lab.datasets[-1].folder).ledger()
    return sum(order[entry["line"] - 1] >= num_leaks and entry["code"] in taken for entry in ledger)


def _triples(turns: Turns) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", " ".join(turn["content"] for turn in turns).lower())
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
