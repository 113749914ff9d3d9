"""What is proposed from rated requests, in which order, and what never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serving_door import Clock, Open, answered

from stoker.serve.access import OPEN, Access
from stoker.serve.feedback import Feedback, keep_feedback
from stoker.serve.proposals import propose


class Asked:
    """Asks, answers and rates, a second apart."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self.access, self.clock = access, clock

    def __call__(
        self, prompt: Any, answer: str, rating: Any = None, correction: str | None = None, **fields: Any
    ) -> str:
        self.clock.time += 1
        turns = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) and "endpoint" not in fields else prompt
        )
        id = answered(self.access, OPEN, prompt=turns, answer=answer, **fields)
        if rating is not None:
            keep_feedback(self.access, OPEN, Feedback(id, rating, None, correction))
        self.access.log.flush()
        return id


@pytest.fixture
def asked(door: Open, clock: Clock) -> Asked:
    return Asked(door(keep_prompts=True), clock)


def answers(serving: Path, **options: Any) -> list[str]:
    return [one.answer for one in propose(serving, **options).rows]


def test_liked_answers_and_corrections_become_rows_and_disliked_ones_never(asked: Asked, serving: Path) -> None:
    asked("a?", "good", "up")
    asked("b?", "bad", "down", "mended")
    asked("c?", "worse", "down")
    asked("d?", "never rated")
    found = propose(serving)
    assert {one.answer: one.why for one in found.rows} == {"good": "liked", "mended": "corrected"}
    assert [(one.answer, one.why) for one in found.review] == [("worse", "disliked")]
    assert found.rows[0].row() == {
        "messages": [{"role": "user", "content": "b?"}, {"role": "assistant", "content": "mended"}]
    }
    assert answers(serving, only="up") == ["good"] and answers(serving, only="down") == ["mended"]
    assert answers(serving, since=asked.clock.time - 2.5) == ["mended"]


def test_what_models_disagree_on_comes_first_then_what_they_were_unsure_of(asked: Asked, serving: Path) -> None:
    asked("unknown?", "u", "up")
    asked("sure?", "s", "up", confidence=0.9)
    asked("unsure?", "n", "up", confidence=0.2)
    asked("disputed?", "one", "up", confidence=0.99)
    asked("disputed?", "two", model="main/v2")
    asked("agreed?", "Same  answer", "up", confidence=0.5)
    asked("agreed?", "same answer", model="main/v2")
    assert answers(serving) == ["one", "n", "Same  answer", "s", "u"]
    found = propose(serving, most=2)
    assert [one.answer for one in found.rows] == ["one", "n"] and sum(found.left_out.values()) == 3
    assert found.rows[0].num_answers == 2


def test_duplicates_are_folded_and_counted(asked: Asked, serving: Path) -> None:
    for _ in range(3):
        asked("a?", "good", "up")
    asked("b?", "bad", "down")
    asked("b?", "Bad ", "down")
    found = propose(serving)
    assert [(one.answer, one.num_alike) for one in found.rows] == [("good", 3)]
    assert [one.num_alike for one in found.review] == [2]
    assert found.left_out == {"the same prompt and answer again": 3}


def test_one_answer_a_prompt_the_newest_correction_before_the_newest_liked(asked: Asked, serving: Path) -> None:
    asked("a?", "first", "down", "mended once")
    asked("a?", "second", "down", "mended twice")
    asked("a?", "liked", "up")
    asked("b?", "old", "up")
    asked("b?", "new", "up")
    asked("b?", "awful", "down")
    found = propose(serving)
    assert {one.answer for one in found.rows} == {"mended twice", "new"} and found.review == []
    assert found.left_out["a newer answer to the same prompt is there"] == 3
    assert found.left_out["disliked, and a better answer is there"] == 1


def test_an_answer_liked_by_one_and_disliked_by_another_is_looked_at(asked: Asked, serving: Path) -> None:
    asked("a?", "maybe", "up")
    asked("a?", "Maybe", "down")
    found = propose(serving)
    assert found.rows == [] and [one.answer for one in found.review] == ["Maybe"]
    assert found.left_out == {"liked by one, disliked by another": 1}


def test_what_can_be_no_row_is_counted_with_its_reason(asked: Asked, serving: Path) -> None:
    asked("a?", "half", "up", status=500)
    asked("b?", " ", "up")
    asked("c?", "continued", "up", endpoint="completions")
    asked({"no": "turns"}, "x", "up")
    asked("plain?", "fine", "up", endpoint="generate")
    found = propose(serving)
    assert [one.row()["messages"][0] for one in found.rows] == [{"role": "user", "content": "plain?"}]
    assert sorted(found.left_out) == [
        "a raw completion has no turns", "its prompt is no conversation", "the answer is empty", "the request failed",
    ]  # fmt: skip


def test_nothing_kept_proposes_nothing(serving: Path) -> None:
    assert propose(serving).to_json() == {"rows": [], "review": [], "left_out": {}}
