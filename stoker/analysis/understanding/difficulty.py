"""Items over versions: how many versions got each right, and what was learned and forgotten between two of them.

Every version is asked the same items in the same way; an item that one of them could not be given is left out of what is
said of that version alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stoker.analysis.statistics import mcnemar_p
from stoker.analysis.understanding.marks import Marked, MarkedSet

_LEAST_SAME = 3


@dataclass(frozen=True, slots=True)
class ItemHistory:
    """One item over the versions, oldest first: `rights` by version, None where it was not judged.

    `same_wrong_answer` is set when three versions or more, and all that were judged, gave this one wrong answer: then the
    expected answer may be what is wrong.
    """

    id: str
    category: str | None
    prompt: str
    expected: str
    rights: dict[str, bool | None]
    share_right: float
    same_wrong_answer: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """An item that two versions answered, one rightly and one not."""

    id: str
    category: str | None
    prompt: str
    expected: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What was learned and forgotten from one version to another, over `n` items that both were asked."""

    before: str
    after: str
    n: int
    num_right_before: int
    num_right_after: int
    learned: tuple[Change, ...]
    forgotten: tuple[Change, ...]
    p_value: float


def histories(versions: Mapping[str, MarkedSet]) -> list[ItemHistory]:
    """Return every item that a version was judged on, the hardest first."""
    by_id: dict[str, dict[str, Marked]] = {}
    for name, marked in versions.items():
        for one in marked.judged:
            by_id.setdefault(one.item.id, {})[name] = one
    found = [_history(asked, list(versions)) for asked in by_id.values()]
    return sorted(found, key=lambda one: one.share_right)


def changes(before: str, after: str, versions: Mapping[str, MarkedSet]) -> Changes:
    """Return what changed on the items that both were judged on, by the exact McNemar test."""
    old, new = ({one.item.id: one for one in versions[name].judged} for name in (before, after))
    common = [id for id in new if id in old]
    learned = tuple(_change(old[id], new[id]) for id in common if new[id].is_right and not old[id].is_right)
    forgotten = tuple(_change(old[id], new[id]) for id in common if old[id].is_right and not new[id].is_right)
    return Changes(
        before, after, len(common), sum(bool(old[id].is_right) for id in common),
        sum(bool(new[id].is_right) for id in common), learned, forgotten, mcnemar_p(len(learned), len(forgotten)),
    )  # fmt: skip


def _history(asked: Mapping[str, Marked], versions: Sequence[str]) -> ItemHistory:
    item = next(iter(asked.values())).item
    rights = {name: asked[name].is_right if name in asked else None for name in versions}
    given = Counter(" ".join((one.given or "").split()) for one in asked.values())
    answer, times = given.most_common(1)[0]
    is_same = times == len(asked) >= _LEAST_SAME and answer and not any(rights.values())
    share = sum(bool(one.is_right) for one in asked.values()) / len(asked)
    return ItemHistory(
        item.id, item.category, item.prompt, item.expected, rights, share, answer if is_same else None
    )  # fmt: skip


def _change(old: Marked, new: Marked) -> Change:
    item = new.item
    return Change(item.id, item.category, item.prompt, item.expected, old.given, new.given)
