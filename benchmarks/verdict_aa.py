"""A/A check of the verdict: a model against itself must not come out better; a planted effect must be found.

    python benchmarks/verdict_aa.py                      # 200 draws of each setting, simulated items
    python benchmarks/verdict_aa.py --evaluation FOLDER  # real item results, models swapped at random item by item

A simulated model answers an item rightly with the item's own chance, and its NLL and F1 scatter around the item's own
value: two draws of one model differ by sampling noise alone. Each draw goes through the same code as an evaluation:
comparisons over one held-out set and three benchmarks, Holm, verdict. Swapping real results instead keeps
their shape, ties and outliers, and makes the models equal by construction. Promised: false "better" at most 5 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np
import orjson
from scipy import stats

from stoker.analysis.comparison import PairedScores, compare_family
from stoker.analysis.verdict import decide
from stoker.spec.lab import EvaluateSpec

Draw = Callable[[np.random.Generator], list[PairedScores]]
EVALUATE = EvaluateSpec(resamples=2000)


def simulated(num_heldout: int, num_items: int, nll_gain: float = 0.0) -> Draw:
    """Return a draw of one model's results twice; `nll_gain` is taken off the candidate's held-out NLL."""

    def draw(rng: np.random.Generator) -> list[PairedScores]:
        scores = [_nll(rng, num_heldout, nll_gain)]
        for name in ("marks-a", "marks-b"):
            chance = rng.beta(0.6, 0.6, num_items)
            first, second = ((rng.random(num_items) < chance).astype(float) for _ in range(2))
            scores.append(PairedScores(name, "normalised", first, second, is_binary=True))
        centre = rng.beta(2, 2, num_items)
        first, second = (
            np.where(rng.random(num_items) < 0.4, 0.0, np.clip(centre + rng.normal(0, 0.15, num_items), 0, 1))
            for _ in range(2)
        )
        scores.append(PairedScores("f1", "f1", first, second, is_binary=False))
        return scores

    return draw


def swapped(folder: Path) -> Draw:
    """Return draws from a real evaluation: each item's two results change sides by a coin."""
    files = sorted(folder.glob("items-*.jsonl"))
    if len(files) < 2:
        sys.exit(f"{folder} holds {len(files)} files items-*.jsonl; two models are needed")
    sides = [[orjson.loads(line) for line in file.read_bytes().splitlines()] for file in files[:2]]
    other = {(item["benchmark"], item["id"]): item for item in sides[1] if item["nll"] is not None}
    pairs = [
        (item, other[key])
        for item in sides[0]
        if item["nll"] is not None and (key := (item["benchmark"], item["id"])) in other
    ]
    names = sorted({first["benchmark"] for first, _ in pairs})

    def draw(rng: np.random.Generator) -> list[PairedScores]:
        scores = []
        for name in names:
            values = np.array([[a["nll"], b["nll"]] for a, b in pairs if a["benchmark"] == name])
            values = np.where(rng.random(len(values))[:, None] < 0.5, values, values[:, ::-1])
            scores.append(
                PairedScores(name, "nll", values[:, 0], values[:, 1], is_binary=False, higher_is_better=False)
            )
        return scores

    return draw


def _nll(rng: np.random.Generator, num_items: int, gain: float) -> PairedScores:
    """Heavy-tailed item NLLs with noise that grows with them, as long and hard answers have."""
    centre = rng.lognormal(0.0, 0.7, num_items)
    first, second = (centre * np.exp(rng.normal(0, 0.1, num_items)) for _ in range(2))
    return PairedScores("heldout", "nll", first - gain, second, is_binary=False, higher_is_better=False)


def rates(draw: Draw, num_draws: int, seed: int) -> tuple[int, int]:
    """Return how often the target was "better" and how often the candidate was promoted."""
    num_better = num_promoted = 0
    for index in range(num_draws):
        rng = np.random.default_rng([seed, index])
        comparisons = compare_family("b", "a", draw(rng), EVALUATE.confidence, EVALUATE.resamples, seed=index)
        verdict = decide(comparisons, EVALUATE, None, "a")
        num_better += any(each.outcome == "better" for each in comparisons)
        num_promoted += verdict.promote
    return num_better, num_promoted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluation", type=Path, help="folder of a finished evaluation with items-*.jsonl")
    options = parser.parse_args()
    settings: list[tuple[str, Draw]] = [
        (f"A/A, {num_heldout} sealed rows, 3 x {num_items} items", simulated(num_heldout, num_items))
        for num_heldout, num_items in ((8, 8), (16, 20), (64, 100), (500, 100))
    ]
    if options.evaluation:
        settings = [(f"A/A, swapped results of {options.evaluation.name}", swapped(options.evaluation))]
    draws = [(name, *rates(draw, options.draws, options.seed)) for name, draw in settings]
    if not options.evaluation:
        for gain in (0.02, 0.05, 0.1):
            found = rates(simulated(64, 100, gain), options.draws, options.seed)
            draws.append((f"planted, 64 sealed rows, NLL lower by {gain}", *found))
    body = harness.table(
        ["setting", 'any "better"', "promoted", "95 % interval of promoted"],
        [_row(*each, options.draws) for each in draws],
    )
    section = "Verdicts on equal models" + (", real item results swapped" if options.evaluation else "")
    harness.write_section(section, " ".join(["python benchmarks/verdict_aa.py", *sys.argv[1:]]), body)


def _row(name: str, num_better: int, num_promoted: int, num_draws: int) -> list[str]:
    ends = stats.binomtest(num_promoted, num_draws).proportion_ci()
    shares = [f"{num / num_draws:.1%}" for num in (num_better, num_promoted)]
    return [name, *shares, f"{ends.low:.1%} to {ends.high:.1%}"]


if __name__ == "__main__":
    main()
