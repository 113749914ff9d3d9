"""Which rows a person means, and what was decided about them: append-only, undoable, safe to repeat."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from noisy import problems
from small_lab import SmallLab

from stoker.data.dataset import Dataset
from stoker.data.quality.choice import choose_rows, split_words
from stoker.data.quality.decisions import append_decision, append_undo, read_decided
from stoker.errors import NotAllowed, NotFound, UsageError


@pytest.fixture
def dataset(lab: SmallLab) -> Dataset:
    rows = problems(200)
    return lab.take_rows([*rows, rows[0], {"prompt": "a", "completion": ""}])


def trained(dataset: Dataset) -> dict[int, str]:
    return {row.line: row.id for row in dataset.each_train_row()}


def pair(dataset: Dataset) -> int:
    """Return a line that trains and whose next line trains."""
    lines = trained(dataset)
    return next(line for line in sorted(lines) if line + 1 in lines)


def test_rows_are_named_by_lines_ranges_and_ids(dataset: Dataset) -> None:
    lines, first = trained(dataset), pair(dataset)
    last = max(line for line in lines if line <= 200)
    words = split_words([f"{first}-{first + 1}, {last}", lines[first]])
    wanted = {lines[line]: line for line in (first, first + 1, last)}
    assert choose_rows(dataset, words) == wanted
    assert choose_rows(dataset, [lines[first]]) == {lines[first]: first}


@pytest.mark.parametrize("text", ["x", "3-", "7-3", "-3", "", "0123456789abcdeg", "3;4"])
def test_what_names_no_rows_is_a_mistake_of_usage(text: str) -> None:
    with pytest.raises(UsageError, match="3,7-9"):
        split_words([text])


def test_a_held_out_row_is_refused_with_the_reason(dataset: Dataset) -> None:
    sealed = dataset.heldout_rows(representatives_only=False)[0]
    for word in (sealed.id, str(sealed.line), f"{max(1, sealed.line - 3)}-{sealed.line + 3}"):
        with pytest.raises(NotAllowed, match="bias what it proves"):
            choose_rows(dataset, [word])


def test_a_line_that_does_not_train_is_named_with_where_it_is(dataset: Dataset) -> None:
    with pytest.raises(NotFound, match=r"line 201 does not train; it is duplicate: the same row is on line 1"):
        choose_rows(dataset, ["201"])
    with pytest.raises(NotFound, match="line 202 does not train; it is quarantined"):
        choose_rows(dataset, ["202"])
    with pytest.raises(NotFound, match="line 999 does not train; the file has no such row"):
        choose_rows(dataset, ["999"])
    with pytest.raises(NotFound, match="no row 0123456789abcdef trains"):
        choose_rows(dataset, ["0123456789abcdef"])


def test_the_last_decision_that_stands_holds(tmp_path: Path) -> None:
    path = tmp_path / "reviews" / "d1.jsonl"
    assert read_decided(path).decisions == []
    assert append_decision(path, "remove", {"a": 1, "b": 2}, 1.0, "t1") == 1
    assert append_decision(path, "keep", {"b": 2, "c": 3}, 2.0, "t2") == 2
    decided = read_decided(path)
    assert decided.standing() == {"a": "remove", "b": "keep", "c": "keep"} and decided.removed() == {"a": 1}
    append_undo(path, 2, 3.0, "t3")
    decided = read_decided(path)
    assert decided.removed() == {"a": 1, "b": 2} and [one.is_undone for one in decided.decisions] == [False, True]
    append_undo(path, 1, 4.0, "t4")
    assert read_decided(path).standing() == {} and len(path.read_bytes().splitlines()) == 4
    with pytest.raises(NotFound, match="no decision 7"):
        append_undo(path, 7, 5.0, "t5")


def test_a_decision_about_very_many_rows_is_read_whole(tmp_path: Path) -> None:
    path, many = tmp_path / "d1.jsonl", {f"{n:016x}": n for n in range(400_000)}
    append_decision(path, "remove", many, 1.0, "t1")
    assert path.stat().st_size > 8 << 20 and len(read_decided(path).removed()) == len(many)


def test_a_repeated_wish_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d1.jsonl"
    assert [append_decision(path, "remove", {"a": 1}, 1.0, "t1") for _ in range(2)] == [1, 1]
    append_undo(path, 1, 2.0, "t2")
    append_undo(path, 1, 2.0, "t2")
    append_undo(path, 1, 3.0, "t3")
    assert len(path.read_bytes().splitlines()) == 2


def test_a_decision_is_whole_or_not_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "d1.jsonl"
    path.write_bytes(b'{"number": 1, "decision": "remove", "rows": [["a", 1]], "time": 1.0, "tok')
    assert read_decided(path).decisions == []
    script = (
        "from pathlib import Path\n"
        "from stoker.data.quality.decisions import append_decision\n"
        f"append_decision(Path({str(path)!r}), 'remove', {{'b': 2}}, 1.0, 'once')\n"
    )
    environment = {**os.environ, "STOKER_FAULT": "review.written:kill"}
    for expected in (-signal.SIGKILL, 0):
        done = subprocess.run([sys.executable, "-c", script], env=environment, check=False, timeout=120)
        assert done.returncode == expected
    assert read_decided(path).removed() == {"b": 2} and len(read_decided(path).decisions) == 1
