"""How explanations and item histories look on a terminal, and the item histories as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.console import note, print_table, say
from stoker.data.visible import visible

if TYPE_CHECKING:
    from stoker.analysis.understanding.confidence import Reliability
    from stoker.analysis.understanding.confusion import Confusion
    from stoker.analysis.understanding.difficulty import Change, Changes, ItemHistory
    from stoker.analysis.understanding.explanation import Explanation
    from stoker.analysis.understanding.marks import Marked

_SHOWN_ITEMS = 10
_SHOWN_CHANGES = 5
_MOST_COLUMNS = 8


def print_explanation(about: Explanation, asked: str, *, is_first: bool) -> None:
    """Print what there is to say, the most telling first."""
    metric = about.marked.primary
    if not is_first:
        say()
    whole = f"{units.score(about.score, metric)} {metric}, {len(about.marked.valued)} items"
    if about.low is not None:
        whole += f" ({_interval(about.low, about.high, metric)})"
    say(f"{about.model} on {about.benchmark}: {whole}; {asked}")
    _print_categories(about)
    if about.confusion is not None:
        _print_confusion(about.confusion)
    if about.reliability is not None:
        _print_reliability(about.reliability)
    _print_failures(about)
    for sentence in about.notes:
        note(sentence)


def print_items(name: str, hard: Sequence[ItemHistory], found: Changes, *, every: bool) -> None:
    """Print the difficulty of items, and what changed between two versions with both answers."""
    always, never = (sum(one.share_right == share for one in hard) for share in (1.0, 0.0))
    num_versions = len(hard[0].rights) if hard else 0
    say(
        f"{name}: {len(hard)} items over {num_versions} version{'s'[: num_versions != 1]}; always right {always}, "
        f"never right {never}, sometimes {len(hard) - always - never}"
    )
    shown = hard if every else hard[:_SHOWN_ITEMS]
    rows = [
        (one.id, one.category, units.score(one.share_right, ""), _pattern(one), clip(one.prompt, 30), clip(one.expected, 16))
        for one in shown
    ]  # fmt: skip
    say()
    print_table(("item", "category", "right", "by version", "asked", "expected"), rows, numbers=("right",))
    if len(shown) < len(hard):
        note(f"the {len(shown)} hardest; all: --all, or --json")
    suspects = [one for one in hard if one.same_wrong_answer is not None]
    for one in suspects[:_SHOWN_CHANGES]:
        said, expected = clip(one.same_wrong_answer, 24), clip(one.expected, 24)
        say(f"every version answers {said!r} to {one.id}, but {expected!r} is expected: is it right?")
    say()
    say(
        f"{found.before} to {found.after}: {found.num_right_before} to {found.num_right_after} right of {found.n}; learned "
        f"{len(found.learned)}, forgot {len(found.forgotten)} (p {units.p_value(found.p_value)})"
    )
    _print_changes("learned", found.learned, every=every)
    _print_changes("forgot", found.forgotten, every=every)


def items_json(name: str, versions: Sequence[str], hard: Sequence[ItemHistory], found: Changes) -> dict[str, Any]:
    """Return the item histories and changes with stable names."""
    return {
        "benchmark": name,
        "versions": list(versions),
        "items": [asdict(one) for one in hard],
        "always_right": [one.id for one in hard if one.share_right == 1.0],
        "never_right": [one.id for one in hard if one.share_right == 0.0],
        "changes": {
            "from": found.before, "to": found.after, "n": found.n, "right_before": found.num_right_before,
            "right_after": found.num_right_after, "p_value": found.p_value,
            "learned": [asdict(one) for one in found.learned], "forgotten": [asdict(one) for one in found.forgotten],
        },
    }  # fmt: skip


def clip(text: str | None, width: int) -> str:
    """Return a text in one line of at most `width` characters, safe to look at."""
    if text is None:
        return "-"
    flat = visible(" ".join(text.split()))
    return flat if len(flat) <= width else f"{flat[: width - 1]}\u2026"


def _print_categories(about: Explanation) -> None:
    metric = about.marked.primary
    rows = [
        (
            clip(one.name, 28), units.count(one.n), units.score(one.score, metric), _interval(one.low, one.high, metric),
            units.signed(one.difference, metric), units.p_value(one.p_value_corrected),
            {"worse": "weak", "better": "strong"}.get(one.outcome, "as the rest"),
        )
        for one in about.categories
    ]  # fmt: skip
    if rows:
        say()
    headers = ("category", "n", "score", "interval", "to the rest", "p", "")
    print_table(headers, rows, numbers=("n", "score", "to the rest", "p"))


def _print_confusion(matrix: Confusion) -> None:
    say()
    kappa = "" if matrix.kappa is None else f", kappa {matrix.kappa:.2f}"
    what = "options by their letter" if matrix.kind == "places" else "answers"
    say(f"Confusions of {what}: macro F1 {100 * matrix.macro_f1:.1f} %{kappa}")
    if len(matrix.columns) > _MOST_COLUMNS:
        rows: list[Sequence[Any]] = [(clip(a, 24), clip(b, 24), units.count(num)) for a, b, num in matrix.commonest(10)]
        print_table(("expected", "answered", "times"), rows, numbers=("times",))
        return
    columns = [clip(name, 10) for name in matrix.columns]
    rows = [
        (clip(label.name, 16), *(units.count(num) for num in counts), _share(label.recall), _share(label.precision))
        for label, counts in zip(matrix.labels, matrix.counts, strict=True)
    ]
    print_table(("expected", *columns, "recall", "precision"), rows, numbers=(*columns, "recall", "precision"))


def _print_reliability(sure: Reliability) -> None:
    say()
    say(f"Confidence: {sure.outcome}; {_share(sure.confidence)} sure, {_share(sure.accuracy)} right")
    say(
        f"Calibration error {_share(sure.error)}, by chance alone {_share(sure.by_chance)} (p {units.p_value(sure.p_value)})"
    )
    if sure.separation is not None:
        say(f"A right answer is surer than a wrong one in {_share(sure.separation)} of pairs")
    rows = [
        (
            f"{100 * one.low:.0f} to {100 * one.high:.0f} %", units.count(one.n), _share(one.confidence),
            _share(one.accuracy), _interval(one.accuracy_low, one.accuracy_high, ""),
        )
        for one in sure.bins
    ]  # fmt: skip
    print_table(("confidence", "n", "mean", "right", "interval"), rows, numbers=("confidence", "n", "mean", "right"))


def _print_failures(about: Explanation) -> None:
    num_wrong = len(about.marked.wrong)
    if not num_wrong:
        return
    say()
    say(f"{num_wrong} of {len(about.marked.judged)} answers are wrong:")
    kinds = [
        (units.count(len(members)), name, clip(members[0].item.prompt, 28), clip(members[0].item.expected, 18), _given(members[0], 26))
        for name, members in about.kinds
    ]  # fmt: skip
    print_table(("n", "kind", "for example", "expected", "answered"), kinds, numbers=("n",))
    if about.lengths is not None and (about.lengths.num_cut_off or about.lengths.num_overlong):
        found = about.lengths
        say(
            f"Of {found.num_answers} answers {found.num_cut_off} ({_share(found.cut_off)}) were cut off, "
            f"{found.num_overlong} are over three times as long as expected"
        )
    groups = [
        (
            units.count(one.size), clip(", ".join(one.words), 30), clip(one.example.item.prompt, 28),
            clip(one.example.item.expected, 14), _given(one.example, 20),
        )
        for one in about.grouping.groups
    ]  # fmt: skip
    if len(groups) > 1:
        alone = f" ({about.grouping.num_alone} are like no others)" if about.grouping.num_alone else ""
        say()
        say(f"Failures that look alike{alone}:")
        print_table(("n", "words", "for example", "expected", "answered"), groups, numbers=("n",))
    if about.repeated_answers:
        said = ", ".join(f"{clip(answer, 16)!r} {times} times" for answer, times in about.repeated_answers[:3])
        say(f"Commonest wrong answers: {said}")


def _print_changes(word: str, found: Sequence[Change], *, every: bool) -> None:
    shown = found if every else found[:_SHOWN_CHANGES]
    rows = [
        (one.id, clip(one.prompt, 28), clip(one.expected, 16), clip(one.before, 18), clip(one.after, 18))
        for one in shown
    ]
    if rows:
        say()
    print_table((word, "asked", "expected", "before", "after"), rows)
    if len(shown) < len(found):
        note(f"{len(found) - len(shown)} more {word}: --all, or --json")


def _pattern(one: ItemHistory, most: int = 12) -> str:
    """Return a sign for each version, the newest last: + right, - wrong, space not asked."""
    signs = {True: "+", False: "-", None: " "}
    return "".join(signs[right] for right in list(one.rights.values())[-most:])


def _given(one: Marked, width: int) -> str:
    return clip(one.given, width) or "(nothing)"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(low: float | None, high: float | None, metric: str) -> str:
    return "-" if low is None or high is None else f"{units.score(low, metric)} to {units.score(high, metric)}"
