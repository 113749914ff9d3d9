"""How answers to the same question change over a run: when a probe was learned, and when it was forgotten.

Pure: steps and right-or-wrong in, turns out. A probe that was never asked twice can still be learned; it can't be forgotten
before it was right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Evolution:
    """`learned_at`: the step of the latest turn to right answers; `forgot_at`: of the latest turn away from them.

    The larger one tells what holds at the end; `num_turns` counts both kinds.
    """

    learned_at: int | None = None
    forgot_at: int | None = None
    num_turns: int = 0

    @property
    def is_known(self) -> bool:
        return self.learned_at is not None and (self.forgot_at is None or self.forgot_at < self.learned_at)


def evolution(marks: Iterable[tuple[int, bool]]) -> Evolution:
    """Return when a probe was learned and forgotten; `marks` are (step, is right) in any order."""
    found = Evolution()
    for step, is_right in sorted(marks):
        if is_right and not found.is_known:
            found = Evolution(step, found.forgot_at, found.num_turns + 1)
        elif not is_right and found.is_known:
            found = Evolution(found.learned_at, step, found.num_turns + 1)
    return found
