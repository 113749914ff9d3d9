"""What counts as forgotten: the whole, or one category that the sum hides; and what does not."""

from __future__ import annotations

from stoker.analysis.forgetting import find_forgetting

Marks = list[tuple[str, float, float]]


def marks(**categories: tuple[int, int]) -> Marks:
    """Return 20 items a category; of each (right before, right after), the first so many are right."""
    return [
        (name, float(place < before), float(place < after))
        for name, (before, after) in categories.items()
        for place in range(20)
    ]


def test_a_loss_in_all_is_forgotten_and_the_categories_that_fell_are_named_the_furthest_first() -> None:
    found = find_forgetting("main/v2", "main/v1", marks(json=(20, 2), copying=(19, 16), sorting=(5, 6)), 0.95, 3.21)
    assert found is not None and found.is_forgotten
    assert [(each.name, each.is_lost) for each in found.fallen] == [("json", True), ("copying", False)]
    assert found.sentence() == (
        "main/v2 has forgotten what main/v1 could do, basics 24 of 60 right instead of 44: json 2 of 20 instead of 20, "
        "copying 16 of 20 instead of 19."
    )
    told = found.to_json()
    assert (told["n"], told["before"], told["after"], told["seconds"]) == (60, 44, 24, 3.21)


def test_one_lost_category_is_forgotten_though_another_gained_as_much() -> None:
    found = find_forgetting("b", "a", marks(json=(20, 4), arithmetic=(2, 18)), 0.95)
    assert found is not None and found.is_forgotten and not found.whole.is_lost
    assert [each.name for each in found.fallen] == ["json"]


def test_a_few_items_less_and_an_equal_model_are_no_forgetting() -> None:
    for after in (20, 18):
        found = find_forgetting("b", "a", marks(json=(20, after), sorting=(10, 10)), 0.95)
        assert found is not None and not found.is_forgotten and not found.is_beyond(0.0)
    assert found.sentence() == "Nothing detectably forgotten: basics 28 of 40 right, a 30."


def test_the_margin_and_the_confidence_are_read() -> None:
    found = find_forgetting("b", "a", marks(json=(20, 10)), 0.95)
    assert found is not None and found.is_beyond(0.02) and not found.is_beyond(0.5)
    surer = find_forgetting("b", "a", marks(json=(20, 10)), 0.9999)
    assert surer is not None and not surer.is_forgotten


def test_without_marks_nothing_is_said() -> None:
    assert find_forgetting("b", "a", [], 0.95) is None
