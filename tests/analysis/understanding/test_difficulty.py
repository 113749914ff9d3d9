"""Items over versions: planted learning and forgetting, items that are never right, and keys that look wrong."""

from __future__ import annotations

from stoker.analysis.understanding.difficulty import changes, histories
from stoker.analysis.understanding.marks import MarkedSet, mark
from stoker.mailbox.benches import BenchItem


def version(answers: dict[str, str | None]) -> MarkedSet:
    """Every expected answer is "yes"; None: this version could not be given the item."""
    items = [
        BenchItem(id=id, prompt=f"is it {id}?", expected="yes", answer=answer,
                  scores={} if answer is None else {"exact": float(answer == "yes")},
                  left_out="too long" if answer is None else None)
        for id, answer in answers.items()
    ]  # fmt: skip
    return mark(items, "exact")


V1 = version({"always": "yes", "never": "no", "learned": "no", "forgotten": "yes", "odd": "maybe"})
V2 = version({"always": "yes", "never": "no", "learned": "yes", "forgotten": "no", "odd": "no", "new": "yes"})
V3 = version({"always": "yes", "never": "no", "learned": "yes", "forgotten": "yes", "odd": None})


def test_difficulty_is_the_share_of_versions_that_got_it_right() -> None:
    found = {one.id: one for one in histories({"v1": V1, "v2": V2, "v3": V3})}
    assert (found["always"].share_right, found["never"].share_right, found["learned"].share_right) == (1.0, 0.0, 2 / 3)
    assert found["odd"].rights == {"v1": False, "v2": False, "v3": None} and found["odd"].share_right == 0.0
    assert found["new"].rights == {"v1": None, "v2": True, "v3": None}
    assert [one.share_right for one in histories({"v1": V1, "v2": V2})] == sorted(
        one.share_right for one in histories({"v1": V1, "v2": V2})
    )


def test_the_same_wrong_answer_of_three_versions_makes_the_key_suspect() -> None:
    found = {one.id: one.same_wrong_answer for one in histories({"v1": V1, "v2": V2, "v3": V3})}
    assert found["never"] == "no" and [id for id, answer in found.items() if answer] == ["never"]
    assert all(one.same_wrong_answer is None for one in histories({"v1": V1, "v2": V2})), "two are no evidence"


def test_what_was_learned_and_forgotten_comes_with_both_answers() -> None:
    found = changes("v1", "v2", {"v1": V1, "v2": V2})
    assert [(one.id, one.before, one.after) for one in found.learned] == [("learned", "no", "yes")]
    assert [(one.id, one.before, one.after) for one in found.forgotten] == [("forgotten", "yes", "no")]
    assert (found.n, found.num_right_before, found.num_right_after, found.p_value) == (5, 2, 2, 1.0)


def test_an_item_that_one_was_not_given_is_in_no_change() -> None:
    found = changes("v1", "v3", {"v1": V1, "v3": V3})
    assert found.n == 4 and [one.id for one in found.learned] == ["learned"] and not found.forgotten
