"""Which checkpoint a run goes back to: the best measured one, and before any measurement that of the best stretch."""

from __future__ import annotations

from stoker.train.progress import Progress


def stretch(progress: Progress, loss: float, measured: float | None = None) -> int | None:
    """Take ten steps of this loss, with an evaluation after them; return the best step then."""
    for _ in range(10):
        progress.add(loss, 1.0, 100, 1)
    if measured is not None:
        progress.record_evaluation(progress.step, measured, 0.0)
    progress.close_stretch()
    return progress.best_step


def test_before_anything_is_measured_the_best_stretch_counts() -> None:
    progress = Progress()
    assert [stretch(progress, loss) for loss in (4.0, 3.5, 3.7)] == [10, 20, 20]


def test_an_evaluation_counts_more_than_any_stretch() -> None:
    progress = Progress()
    assert [stretch(progress, 3.5), stretch(progress, 3.7, 3.9), stretch(progress, 3.4)] == [10, 20, 20]
    assert stretch(progress, 3.6, 3.8) == 40


def test_the_first_evaluation_of_a_run_that_goes_wrong_is_no_best() -> None:
    progress = Progress()
    assert [stretch(progress, 3.5), stretch(progress, 5.0, 6.6)] == [10, 10]
    assert not progress.is_best_measured
    assert stretch(progress, 3.6, 3.7) == 30 and progress.is_best_measured
