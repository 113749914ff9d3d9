"""The review finds planted noise, leaves clean files alone, and says why."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from noisy import plant, problems, tickets
from small_lab import SmallLab

from stoker.data.quality.losses import find_high_losses
from stoker.data.quality.recommend import recommend
from stoker.data.quality.repetition import find_loop
from stoker.data.quality.review import Review, add_excerpts, review_dataset
from stoker.data.quality.robust import robust_z
from stoker.data.quality.signals import GROUPS, Signal
from stoker.mailbox.row_losses import Visits
from stoker.spec.lab import CheckSpec, IntakeSpec, SplitSpec


@pytest.fixture
def open_lab(lab: SmallLab) -> SmallLab:
    """A lab that holds nothing out, so that every row is looked at."""
    lab.split, lab.intake = SplitSpec(fraction=0.0, min_clusters=0), IntakeSpec(allow_unproven=True)
    return lab


def reviewed(lab: SmallLab, rows: list[dict[str, Any]]) -> tuple[Review, set[int]]:
    """Return the review and the lines that train."""
    dataset = lab.take_rows(rows)
    return review_dataset(dataset, CheckSpec()), {row.line for row in dataset.each_train_row()}


def lines(review: Review, *recommendations: str) -> set[int]:
    return {row.line for row in review.rows if row.judged.recommendation in recommendations}


@pytest.mark.parametrize("seed", [1, 2])
def test_wrong_labels_garbage_and_loops_are_found_in_a_file_of_labels(lab: SmallLab, seed: int) -> None:
    rows = tickets(1000, seed)
    planted = plant(rows, seed, flips=0.03, garbage=0.02, loops=0.01)
    review, trained = reviewed(lab, rows)
    wanted, found, removed = set(planted) & trained, lines(review, "remove", "review"), lines(review, "remove")
    assert review.is_labelled and len(wanted) > 50
    assert len(found & wanted) >= 0.9 * len(wanted), sorted(planted[line] for line in wanted - found)
    assert len(found & wanted) >= 0.9 * len(found)
    assert len(removed & wanted) >= 0.95 * len(removed) and len(removed) >= 0.6 * len(wanted)


@pytest.mark.parametrize("seed", [1, 2])
def test_garbage_and_loops_are_found_among_written_answers(lab: SmallLab, seed: int) -> None:
    rows = problems(1000, seed)
    planted = plant(rows, seed, garbage=0.02, loops=0.01)
    review, trained = reviewed(lab, rows)
    wanted, found = set(planted) & trained, lines(review, "remove", "review")
    assert not review.is_labelled and len(wanted) > 20
    assert len(found & wanted) >= 0.95 * len(wanted), sorted(planted[line] for line in wanted - found)
    assert len(found & wanted) >= 0.95 * len(found)
    assert lines(review, "remove") <= wanted and len(lines(review, "remove")) >= 0.5 * len(wanted)


@pytest.mark.parametrize("make", [problems, tickets])
def test_a_clean_file_is_left_alone(lab: SmallLab, make: Any) -> None:
    review, trained = reviewed(lab, make(1000, 7))
    assert len(lines(review, "remove")) <= 1, "a ticket that is mostly about something else"
    assert len(lines(review, "remove", "review")) <= 0.01 * len(trained)
    if make is problems:
        assert review.rows == []


def test_labels_that_words_do_not_decide_are_not_doubted(lab: SmallLab) -> None:
    draw = random.Random(3)
    rows = [{**row, "completion": draw.choice(("yes", "no"))} for row in tickets(600, 3)]
    review, _ = reviewed(lab, rows)
    assert review.is_labelled and len(lines(review, "remove", "review")) <= 6


def test_the_order_of_the_rows_has_no_say(tmp_path: Any) -> None:
    rows = tickets(400, 5)
    plant(rows, 5, flips=0.03, garbage=0.02, loops=0.01)
    shuffled = random.Random(0).sample(rows, len(rows))
    found = []
    for name, content in (("one", rows), ("two", shuffled)):
        review, _ = reviewed(SmallLab(tmp_path / name), content)
        found.append({row.id: row.judged.score for row in review.rows})
    assert found[0] == found[1] and found[0]


def test_the_worst_come_first_with_their_words(open_lab: SmallLab) -> None:
    rows = problems(200)
    rows[50]["completion"] = "and then " * 30
    rows[60]["completion"] = "N/A"
    dataset = open_lab.take_rows(rows)
    review = review_dataset(dataset, CheckSpec())
    assert [(row.line, row.judged.recommendation) for row in review.rows] == [(51, "remove"), (61, "remove")]
    add_excerpts(dataset, review.rows)
    assert review.rows[0].prompt == rows[50]["prompt"] and review.rows[1].answer == "N/A"
    (signal,) = review.rows[0].judged.signals
    assert signal.reason == "the answer is a loop: 'and then' 30 times, 100% of it"


def test_an_answer_against_the_neighbours_answers_is_doubted(open_lab: SmallLab) -> None:
    rows = problems(200)
    prompt = "Which two metals is bronze made of, as every smith in town could tell you"
    rows += [{"prompt": prompt + end, "completion": "Copper and tin"} for end in ("", ".", "!", "!!", "?")]
    rows.append({"prompt": prompt + "??", "completion": "Snow"})
    rows += [{"prompt": "Name the number after three.", "completion": word} for word in ("Four", "Five")]
    review, _ = reviewed(open_lab, rows)
    doubted = {
        row.line: row.judged for row in review.rows if any(one.name == "neighbours" for one in row.judged.signals)
    }
    assert doubted.keys() == {206, 207, 208}
    assert doubted[206].recommendation == "remove" and "by 5 rows that agree" in doubted[206].signals[0].reason
    assert "on line 208" in doubted[207].signals[0].reason and "on line 207" in doubted[208].signals[0].reason


def test_templates_whose_answers_all_differ_are_not_inconsistent(open_lab: SmallLab) -> None:
    rows = [
        {"prompt": f"What is the square of the whole number {n}, please?", "completion": str(n * n)} for n in range(300)
    ]
    review, _ = reviewed(open_lab, rows)
    assert review.rows == []


def test_findings_speak_against_their_row_unless_the_file_is_full_of_them(open_lab: SmallLab) -> None:
    rows = problems(300)
    for row in rows[:25]:
        row["completion"] += " {{name}}"
    review, _ = reviewed(open_lab, rows)
    assert lines(review, "review") == {*range(1, 26)}, "more than the check keeps as examples"
    rows = problems(300, 4)
    for row in rows[:60]:
        row["completion"] += " {{name}}"
    review, _ = reviewed(open_lab, rows)
    assert review.rows == [] and review.notes[0].startswith("placeholders: 20% of the rows")


@pytest.mark.parametrize(
    ("answer", "unit"),
    [
        ("we go " * 8, "we go"),
        ("Well, " + "ha" * 30, "ha"),
        ("0 1 1 0 " * 9, None),
        ("Row, row, row your boat, gently down the stream, merrily, merrily, merrily, merrily, life is a dream.", None),
        ("x = 1\ny = 2\nz = 3\n" * 2 + "return x + y + z", None),
        ("-" * 80, None),
    ],
)
def test_a_loop_is_a_unit_with_letters_that_follows_itself(answer: str, unit: str | None) -> None:
    loop = find_loop(answer, answer.lower().replace(",", " ").split())
    assert (loop and loop.unit) == unit


def test_a_robust_z_is_not_moved_by_the_outlier_itself() -> None:
    values = np.array([*np.linspace(9, 11, 99), 1e6])
    z = robust_z(values)
    assert z[-1] > 1e5 and np.abs(z[:-1]).max() < 2
    assert robust_z(np.array([5.0] * 9 + [6.0]))[-1] == pytest.approx(1 / (1.2533 * 0.1))
    assert np.isnan(robust_z(np.array([np.nan, 1.0, 2.0, 3.0]))[0])


def test_a_score_joins_groups_and_takes_the_strongest_of_each() -> None:
    assert set(GROUPS) >= {"loop", "label", "neighbours", "high-loss", "rising-loss", "finding"}
    signals = [Signal(1, "short", 0.4, ""), Signal(1, "ratio", 0.4, ""), Signal(1, "high-loss", 0.5, "")]
    (one,), _ = recommend(signals, 1000)
    assert one.score == pytest.approx(0.7) and one.recommendation == "review"
    signals.append(Signal(1, "hollow", 0.7, ""))
    (one,), _ = recommend(signals, 1000)
    assert one.score == pytest.approx(0.91) and one.recommendation == "remove" and one.signals[0].name == "hollow"


def visits(losses: list[list[float]]) -> Visits:
    """Return visits of rows 0.. in epochs, each row's losses per token one epoch after the other."""
    flat = [(row, loss) for epoch in losses for row, loss in enumerate(epoch)]
    row, loss = (np.array(column) for column in zip(*flat, strict=True))
    tokens = np.full(len(flat), 10)
    return Visits(row.astype(np.uint64), np.arange(len(flat)), loss * tokens, tokens)


def test_losses_that_stay_high_or_rise_are_told_from_the_runs_own_curve() -> None:
    draw = np.random.default_rng(0)
    first, second = (np.linspace(*span, 300) + draw.normal(0, 0.05, 300) for span in ((6, 3), (3, 1)))
    second[10] = 8.0
    first[20], second[20] = first[20] - 2.0, second[20] + 2.0
    ids = np.arange(300, dtype=np.uint64)
    found = {(one.row, one.name): one for one in find_high_losses(ids, [visits([first.tolist(), second.tolist()])])}
    assert found.keys() == {(10, "high-loss"), (10, "rising-loss"), (20, "high-loss"), (20, "rising-loss")}
    assert "8.00 nats a token" in found[10, "high-loss"].reason
    assert "1 times in training" in found[20, "rising-loss"].reason
    assert all(one.strength < 0.8 for one in found.values()), "a hard row is no reason to remove it"
    assert list(find_high_losses(ids, [])) == []
