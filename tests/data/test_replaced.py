"""Rows after a newer version took their dataset's place: which still count, and that a rolled-back one frees its rows."""

from __future__ import annotations

from typing import Any

from small_lab import SmallLab

from stoker.data.contents import contents
from stoker.data.dataset import Dataset
from stoker.data.diff import diff_rows
from stoker.data.replaced import is_counting


def rows(*numbers: int, answer: str = "It is") -> list[dict[str, Any]]:
    return [{"prompt": f"What is {n * 31} and {n * 7}?", "answer": f"{answer} {n * 38} of {n}."} for n in numbers]


def take(lab: SmallLab, records: list[dict[str, Any]]) -> Dataset:
    return lab.take_rows(records)


def counts(dataset: Dataset, *keepers: Dataset) -> list[bool]:
    ids = [row.id for row in dataset.train_rows()]
    return is_counting(ids, [keeper.folder for keeper in keepers]).tolist()


def test_a_replaced_row_counts_while_a_dataset_in_force_has_it_even_as_a_duplicate(lab: SmallLab) -> None:
    first = take(lab, rows(*range(100)))
    second = take(lab, rows(*range(50)) + rows(*range(200, 240)))
    assert second.summary["duplicate"] > 0
    trained = first.train_rows()
    kept = [row for row, counting in zip(trained, counts(first, second), strict=True) if counting]
    assert {row.line for row in kept} == {row.line for row in trained if row.line <= 50}
    assert not any(counts(first)) and all(counts(first, first))
    third = take(lab, rows(99, *range(300, 330)))
    assert sum(counts(first, second, third)) == len(kept) + (100 in {row.line for row in trained})


def test_two_versions_of_a_file_differ_in_what_changed_and_not_in_what_they_share(lab: SmallLab) -> None:
    first = take(lab, rows(*range(100)))
    second = take(lab, rows(*range(10, 100)) + rows(5, answer="Now it is") + rows(*range(200, 203)))
    found = diff_rows(contents(first, []), contents(second, [first]))
    assert {name: len(each) for name, each in found.items()} == {"added": 3, "removed": 9, "changed": 1}
    back = diff_rows(contents(second, [first]), contents(first, []))
    assert {name: len(each) for name, each in back.items()} == {"added": 9, "removed": 3, "changed": 1}


def test_rows_of_a_rolled_back_dataset_may_come_again_and_its_sealed_ones_stay_sealed(lab: SmallLab) -> None:
    first = take(lab, rows(*range(100)))
    again = rows(*range(100)) + rows(*range(200, 240))
    sealed = {row.id for row in first.heldout_rows(representatives_only=False)}
    lab.datasets[0] = lab.datasets[0].model_copy(update={"is_rolled_back": True})
    second = take(lab, again)
    assert second.summary["duplicate"] == 0
    trained = {row.id for row in second.train_rows()}
    assert {row.id for row in first.train_rows()} <= trained and not sealed & trained
