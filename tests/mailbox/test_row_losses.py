"""Row losses count every visit once, whatever was cut off and done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.mailbox.row_losses import ROW_LOSSES, RowLossWriter, read_visits

A, B = "00000000000000aa", "00000000000000bb"


def write(folder: Path, begin: int, steps: dict[int, float]) -> None:
    writer = RowLossWriter(folder, begin, ["d1", "d2"])
    for step, nll in steps.items():
        writer.append(step, [(0, A, nll, 4), (1, B, 2 * nll, 5)])
    writer.sync()
    writer.close()


def test_what_a_step_lost_is_read_back_by_dataset(tmp_path: Path) -> None:
    write(tmp_path, 0, {1: 1.5, 2: 0.5})
    found = read_visits(tmp_path, "d2")
    assert found.row.tolist() == [0xBB, 0xBB] and found.step.tolist() == [1, 2]
    assert found.nll.tolist() == [3.0, 1.0] and found.tokens.tolist() == [5, 5]
    assert len(read_visits(tmp_path, "d3").row) == 0
    assert len(read_visits(tmp_path / "none", "d1").row) == 0


def test_steps_after_the_checkpoint_are_taken_back_and_done_again(tmp_path: Path) -> None:
    write(tmp_path, 0, {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0})
    write(tmp_path, 2, {3: 30.0})
    found = read_visits(tmp_path, "d1")
    assert found.step.tolist() == [1, 2, 3] and found.nll.tolist() == [1.0, 2.0, 30.0]


def test_a_torn_line_and_a_loss_that_is_not_finite_are_no_visits(tmp_path: Path) -> None:
    write(tmp_path, 0, {1: 1.0, 2: float("nan")})
    with (tmp_path / ROW_LOSSES).open("ab") as file:
        file.write(b'{"step": 3, "rows": [[0, "00')
    write(tmp_path, 2, {3: 3.0})
    assert read_visits(tmp_path, "d1").step.tolist() == [1, 3]


@pytest.mark.parametrize("last", [1, 2])
def test_of_a_step_that_is_there_twice_the_last_holds(tmp_path: Path, last: int) -> None:
    write(tmp_path, 0, {1: 1.0, 2: 2.0, last: 9.0})
    assert read_visits(tmp_path, "d1").nll.tolist()[last - 1] == 9.0
