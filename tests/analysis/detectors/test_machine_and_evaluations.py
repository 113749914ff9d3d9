"""What is seen from outside (speed, memory, disk, silence), and what evaluations and probes tell."""

from __future__ import annotations

import random

import pytest

from stoker.analysis.detectors.evaluations import inverted_sigmas
from stoker.analysis.detectors.machine import RECENT, disk_low, memory_trend, throughput_drop
from stoker.analysis.detectors.watch import Watch
from stoker.analysis.trend import rising_sigmas, theil_sen, thinned
from stoker.spec.watching import WatchSpec

DRAW = random.Random(5)
GB = 1e9


def rates(num: int, level: float = 1000.0) -> list[tuple[float, float]]:
    return [(float(place), level * DRAW.lognormvariate(0, 0.2)) for place in range(num)]


def test_halved_throughput_is_found_within_sixteen_readings_and_noise_is_not() -> None:
    steady = rates(400)
    assert not any(throughput_drop(steady[:end]) for end in range(1, 401))
    halved = [(time, value / 2 if time >= 300 else value) for time, value in steady]
    first = next(end for end in range(1, 401) if throughput_drop(halved[:end]))
    assert 300 < first <= 300 + RECENT
    found = throughput_drop(halved[:first])
    assert found is not None and found.numbers["share"] < 0.6
    assert throughput_drop(halved[:330], drop=0.7) is None


def test_one_slow_step_is_no_drop_and_few_readings_say_nothing() -> None:
    assert throughput_drop([*rates(100), (100.0, 1.0)]) is None
    assert throughput_drop([(0.0, 1000.0)] * 20 + [(1.0, 1.0)] * 10) is None


def test_memory_that_leaks_is_told_with_the_time_that_is_left() -> None:
    leak = [(10.0 * place, 8 * GB + 0.02 * GB * place + DRAW.gauss(0, 0.02 * GB)) for place in range(40)]
    found = memory_trend(leak, limit=16 * GB, horizon_seconds=3 * 3600)
    assert found is not None and found.kind == "memory-trend"
    assert found.numbers["seconds_left"] == pytest.approx((16 * GB - leak[-1][1]) / (0.002 * GB), rel=0.15)
    assert memory_trend(leak, limit=16 * GB, horizon_seconds=600) is None, "full in an hour, asked for ten minutes"
    assert memory_trend(leak[:8], limit=9 * GB, horizon_seconds=3600) is not None, "eight readings are enough"


def test_memory_that_is_level_comes_and_goes_or_bursts_is_no_trend() -> None:
    level = [(10.0 * place, 15 * GB + DRAW.gauss(0, 0.05 * GB)) for place in range(60)]
    saw = [(10.0 * place, 10 * GB + (place % 10) * 0.5 * GB) for place in range(60)]
    burst = [(10.0 * place, 8 * GB + (6 * GB if 20 <= place < 24 else 0)) for place in range(60)]
    for readings in (level, saw, burst, level[:5]):
        assert memory_trend(readings, limit=16 * GB, horizon_seconds=3600) is None


def test_a_disk_is_low_when_less_is_free_than_needed() -> None:
    assert disk_low(5 * GB, 1 * GB) is None
    found = disk_low(0.5 * GB, 1 * GB, step=7)
    assert found is not None and (found.kind, found.severity, found.step) == ("disk-low", "critical", 7)


def test_the_best_so_far_is_good_news_once_per_cooldown() -> None:
    watch = Watch(WatchSpec(cooldown_steps=0))
    kinds = [
        [each.kind for each in watch.after_evaluation(step, loss, 1.0)] for step, loss in enumerate([3, 2, 2.5, 1])
    ]
    assert kinds == [[], ["best-so-far"], [], ["best-so-far"]]
    quiet = Watch(WatchSpec())
    assert [len(quiet.after_evaluation(step, loss, 1.0)) for step, loss in enumerate([3.0, 2.0, 1.0])] == [0, 1, 0]


def test_held_out_loss_that_rises_with_training_loss_is_no_overfitting() -> None:
    watch = Watch(WatchSpec())
    assert [watch.after_evaluation(step, 2 + step, 2 + step) for step in range(6)] == [[]] * 6


def test_probes_that_vary_by_one_are_no_drop_and_a_drop_that_lasts_is_told_once() -> None:
    watch = Watch(WatchSpec())
    quiet = [0.5, 0.625, 0.5, 0.375, 0.5, 0.625, 0.25, 0.5]
    assert [each for step, share in enumerate(quiet) for each in watch.after_samples(step, share)] == []
    found = [each.kind for step in range(8, 20) for each in watch.after_samples(step, 0.125)]
    assert found == ["accuracy-drop"]


def test_wrong_answers_with_the_higher_loss_are_not_inverted_and_few_probes_say_nothing() -> None:
    right, wrong = [0.1, 0.2, 0.3, 0.4, 0.5], [2.0, 2.1, 2.2, 2.3, 2.4]
    assert inverted_sigmas(right, wrong) < 0 < 2.33 < inverted_sigmas(wrong, right)
    assert inverted_sigmas(wrong[:3], right) == 0


def test_a_line_through_points_is_not_moved_by_wrong_ones() -> None:
    points = [(float(x), 2.0 * x) for x in range(20)]
    points[3], points[11] = (3.0, 900.0), (11.0, -900.0)
    slope, middle = theil_sen(points)
    assert slope == pytest.approx(2.0, abs=0.1) and middle == pytest.approx(19.0, abs=0.5)
    assert rising_sigmas([1, 2, 3, 4, 5, 6, 7, 8]) > 3 and rising_sigmas([1, 2, 3]) == 0
    assert thinned([(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)], 3) == [(0, 0), (2, 2), (4, 4)]
