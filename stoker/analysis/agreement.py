"""How far two who mark the same things agree."""

from __future__ import annotations

from collections.abc import Sequence


def agreement(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Return the share on which both say the same."""
    assert len(a) == len(b) > 0
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(a)


def cohens_kappa(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Return the agreement beyond chance (Cohen 1960): 1 full, 0 what chance gives; 1 where chance leaves no room."""
    by_chance = 0.0
    for value in (True, False):
        by_chance += (sum(x is value for x in a) / len(a)) * (sum(x is value for x in b) / len(b))
    seen = agreement(a, b)
    return 1.0 if by_chance == 1 else (seen - by_chance) / (1 - by_chance)
