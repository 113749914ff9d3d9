"""Files of made-up rows with planted noise: wrong labels, garbage and loops at known lines."""

from __future__ import annotations

import random
from typing import Any

_OPENINGS = (
    "Hello,",
    "Good morning,",
    "Hi there,",
    "To whom it may concern,",
    "Please help:",
    "Once more,",
    "Dear team,",
)
_THINGS = {
    "billing": ("invoice", "refund", "payment", "receipt", "charge", "subscription", "credit card", "price", "discount"),
    "delivery": ("parcel", "courier", "tracking number", "shipment", "address", "depot", "doorstep", "package", "driver"),
    "account": ("password", "login", "username", "profile", "two-factor code", "session", "email change", "lockout", "sign-in"),
    "product": ("battery", "screen", "charger", "manual", "button", "speaker", "firmware", "hinge", "warranty"),
}  # fmt: skip
_VERBS = (
    "is missing",
    "came twice",
    "stopped working",
    "was wrong",
    "has not arrived",
    "looks odd",
    "needs a check",
    "failed",
)
_ENDS = (
    "since Monday.",
    "for three weeks now.",
    "and nobody answers.",
    "as I wrote before.",
    "so please look into it.",
    "again.",
)
_NAMES = (
    "Ada",
    "Bruno",
    "Chen",
    "Dana",
    "Emre",
    "Farah",
    "Goran",
    "Hana",
    "Ivo",
    "Jun",
    "Kofi",
    "Lena",
    "Mira",
    "Nils",
    "Olga",
)
_GOODS = (
    "apples",
    "pencils",
    "bricks",
    "tickets",
    "coins",
    "books",
    "eggs",
    "stamps",
    "bottles",
    "marbles",
    "cards",
    "chairs",
)
_PLACES = ("market", "school", "harbour", "farm", "library", "station", "garden", "bakery", "museum", "workshop")
LABELS = tuple(_THINGS)


def tickets(num: int, seed: int = 0) -> list[dict[str, Any]]:
    """Support tickets and their label; every fifth mentions a thing of another label as well."""
    draw = random.Random(seed)
    rows = []
    for number in range(num):
        label = draw.choice(LABELS)
        other = draw.choice(LABELS) if number % 5 == 0 else label
        words = [
            draw.choice(_OPENINGS), "my", draw.choice(_THINGS[label]), draw.choice(_VERBS), "and the",
            draw.choice(_THINGS[label]), draw.choice(_VERBS), "beside my", draw.choice(_THINGS[other]),
            draw.choice(_ENDS), f"Case {draw.randrange(10**6)}.",
        ]  # fmt: skip
        rows.append({"prompt": " ".join(words), "completion": label})
    return rows


def problems(num: int, seed: int = 0) -> list[dict[str, Any]]:
    """Word problems with worked answers."""
    draw = random.Random(seed)
    rows = []
    for _ in range(num):
        who, goods, place = draw.choice(_NAMES), draw.choice(_GOODS), draw.choice(_PLACES)
        friends = draw.sample(_NAMES, 2)
        start, more, times = draw.randint(2, 90), draw.randint(2, 60), draw.randint(2, 9)
        question = (
            f"At the {place} {who} has {start} {goods} and gets {more} more from {friends[0]}. "
            f"{friends[1]} has {times} times as many. How many {goods} do they have together?"
        )
        own = start + more
        steps = [f"{who} has {start} + {more} = {own} {goods}.", f"{friends[1]} has {own} x {times} = {own * times}."]
        if draw.random() < 0.5:
            steps.insert(0, f"First we count what {who} has at the {place}.")
        rows.append({"prompt": question, "completion": f"{' '.join(steps)} Together that makes {own + own * times}."})
    return rows


def plant(rows: list[dict[str, Any]], seed: int, *, flips: float = 0.0, garbage: float, loops: float) -> dict[int, str]:
    """Spoil shares of the rows in place and return line to kind of every one that was spoilt."""
    draw = random.Random(f"noise {seed}")
    kinds = (
        ["flip"] * round(flips * len(rows))
        + ["garbage"] * round(garbage * len(rows))
        + ["loop"] * round(loops * len(rows))
    )
    chosen = draw.sample(range(len(rows)), len(kinds))
    for place, kind in zip(chosen, kinds, strict=True):
        row = rows[place]
        if kind == "flip":
            row["completion"] = draw.choice([label for label in LABELS if label != row["completion"]])
        else:
            row["completion"] = _garbage(draw, row["prompt"]) if kind == "garbage" else _loop(draw, row["prompt"])
    return {place + 1: kind for place, kind in zip(chosen, kinds, strict=True)}


def _garbage(draw: random.Random, prompt: str) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    kind = draw.randrange(4)
    if kind == 0:
        return " ".join("".join(draw.choices(letters, k=draw.randint(3, 9))) for _ in range(draw.randint(6, 20)))
    if kind == 1:
        return "".join(draw.choices(letters + letters.upper() + "0123456789+/", k=draw.randint(60, 200)))
    return draw.choice(("N/A", "???", "...", "null", "TODO")) if kind == 2 else prompt


def _loop(draw: random.Random, prompt: str) -> str:
    words = prompt.split()
    first = draw.randrange(len(words) - 6)
    return " ".join([*words[: draw.randint(2, 10)], *words[first : first + draw.randint(1, 6)] * draw.randint(12, 40)])
