"""A/A check of model comparisons: two samplings of one model must not differ; a planted difference must be found.

    python benchmarks/comparison_aa.py               # 200 draws of each setting
    python benchmarks/comparison_aa.py --draws 2000  # the rates themselves, closer

A simulated model answers an item rightly with the item's own chance, so two samplings share what is easy and what is
hard: their marks are correlated, by as much as the chances are spread (Beta(k, k): 1 / (2 k + 1)). A planted model answers
each item rightly also with a share of its chance to fail, so that it scores 10 points more on average, and is then sampled
by itself. Graded scores and NLL scatter around the item's own value. Each draw goes through what `stoker eval compare`
does: pairs, Holm, outcome. Promised: false "different" at most 5 %, the planted difference on 300 items found in 95 % of
the draws from a correlation of 0.7 on, which is what a model and its next version have.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
from scipy import stats

from stoker.analysis.comparing import SAME, Compared, Measured, compare_models
from stoker.mailbox.benches import BenchItem, BenchResult

Floats = np.ndarray[Any, np.dtype[np.float64]]
Draw = Callable[[np.random.Generator], Compared]
CONFIDENCE, RESAMPLES = 0.95, 2000


def marks(correlation: float, num_items: int, gain: float = 0.0, num_benchmarks: int = 1, num_models: int = 2) -> Draw:
    """Return draws of right/wrong marks; the last model is `gain` better in truth."""
    spread = (1 / correlation - 1) / 2

    def draw(rng: np.random.Generator) -> Compared:
        found = {}
        for place in range(num_benchmarks):
            chance = rng.beta(spread, spread, num_items)
            lifted = chance + (1 - chance) * gain / 0.5
            chances = [chance] * (num_models - 1) + [lifted]
            found[f"b{place}"] = measured([(rng.random(num_items) < each).astype(float) for each in chances], "exact")
        return compared(found, num_models)

    return draw


def graded(num_items: int, metric: str) -> Draw:
    """Return draws of F1 (ties and zeros among them) or NLL (heavy tails) of one model twice."""

    def draw(rng: np.random.Generator) -> Compared:
        if metric == "nll":
            centre = rng.lognormal(0.0, 0.7, num_items)
            values = [centre * np.exp(rng.normal(0, 0.1, num_items)) for _ in range(2)]
        else:
            centre = rng.beta(2, 2, num_items)
            values = [
                np.where(rng.random(num_items) < 0.4, 0.0, np.clip(centre + rng.normal(0, 0.15, num_items), 0, 1))
                for _ in range(2)
            ]
        return compared({"b": measured(values, metric)}, 2)

    return draw


def measured(values: list[Floats], metric: str) -> dict[str, Measured]:
    """Return results as a benchmark leaves them, models m0, m1, ..."""
    return {
        f"m{place}": Measured(_result(f"m{place}", one, metric), _items(one, metric))
        for place, one in enumerate(values)
    }


def compared(found: dict[str, dict[str, Measured]], num_models: int) -> Compared:
    return compare_models([f"m{place}" for place in range(num_models)], found, CONFIDENCE, RESAMPLES)


def rate(draw: Draw, num_draws: int, seed: int) -> int:
    """Return in how many draws some pair was called different on some benchmark."""
    return sum(
        any(line.outcome != SAME for line in draw(np.random.default_rng([seed, index])).lines)
        for index in range(num_draws)
    )


def _items(values: Floats, metric: str) -> list[BenchItem]:
    return [
        BenchItem.model_construct(
            id=str(place), prompt="", expected="", answer=None, left_out=None, tokens=1,
            scores={} if metric == "nll" else {metric: float(value)}, nll=float(value) if metric == "nll" else None,
        )
        for place, value in enumerate(values)
    ]  # fmt: skip


def _result(model: str, values: Floats, metric: str) -> BenchResult:
    return BenchResult(
        key="0" * 16, model=model, source="folder", weights_sha256=model, benchmark="b", benchmark_sha256="0",
        scorer=metric, primary=metric, metrics={} if metric == "nll" else {metric: metric == "exact"}, n=len(values),
        scores={metric: float(values.mean())}, at=0.0,
    )  # fmt: skip


SETTINGS: list[tuple[str, Draw]] = [
    *(
        (f"A/A, {n} items, correlation {r:.1f}", marks(r, n))
        for n, r in ((50, 0.6), (300, 0.0001), (300, 0.5), (300, 0.7), (300, 0.9))
    ),
    ("A/A, 3 benchmarks x 300 items, 3 models", marks(0.6, 300, num_benchmarks=3, num_models=3)),
    ("A/A, 300 items, F1", graded(300, "f1")),
    ("A/A, 300 items, NLL", graded(300, "nll")),
    ("A/A, 12 items, F1", graded(12, "f1")),
    *((f"10 points planted, 300 items, correlation {r}", marks(r, 300, 0.1)) for r in (0.5, 0.6, 0.7, 0.8, 0.9)),
    ("10 points planted, 500 items, correlation 0.5", marks(0.5, 500, 0.1)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for name, draw in SETTINGS:
        found = rate(draw, options.draws, options.seed)
        ends = stats.binomtest(found, options.draws).proportion_ci()
        rows.append([name, f"{found / options.draws:.1%}", f"{ends.low:.1%} to {ends.high:.1%}"])
        print(*rows[-1], flush=True)
    body = harness.table(["setting", 'called "different"', "95 % interval"], rows)
    harness.write_section(
        f"Model comparisons on equal and unequal models, {options.draws:,} draws",
        " ".join(["python benchmarks/comparison_aa.py", *sys.argv[1:]]), body,
    )  # fmt: skip


if __name__ == "__main__":
    main()
