import pytest

from stoker.train.schedule import rate_factor


def factors(total, warmup=0.1, decay=0.2):
    return [rate_factor(step, total, warmup, decay) for step in range(total)]


def test_the_rate_rises_holds_and_falls():
    rates = factors(100)
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([(20 - i) / 20 for i in range(20)])
    assert rate_factor(100, 100, 0.1, 0.2) == 0.0


def test_every_step_learns_something():
    for total in (1, 2, 3, 7):
        assert all(0 < factor <= 1 for factor in factors(total, 0.03, 0.2))


def test_without_warm_up_and_decay_the_rate_is_constant():
    assert factors(9, 0.0, 0.0) == [1.0] * 9


def test_where_both_overlap_the_smaller_holds():
    rates = factors(10, 1.0, 1.0)
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_a_run_too_short_for_a_decay_holds_its_rate_to_the_end() -> None:
    assert [rate_factor(step, 2, 0.03, 0.2) for step in range(3)] == [1.0, 1.0, 1.0]
    assert [rate_factor(step, 5, 0.0, 0.0) for step in range(6)] == [1.0] * 6
