"""What the detectors cost a worker at each step: every recorded run replayed, layers and evaluations included.

python benchmarks/detectors.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import harness

from stoker.analysis.detectors.watch import Watch
from stoker.spec.watching import WatchSpec

TRACES = Path(__file__).parent.parent / "tests" / "analysis" / "detectors" / "traces"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    traces = [json.loads(path.read_bytes()) for path in sorted(TRACES.glob("*.json"))]
    num_steps = sum(len(trace["loss"]) for trace in traces)
    micros = []
    for _ in range(rounds):
        began = time.process_time()
        for trace in traces:
            replay(trace)
        micros.append(1e6 * (time.process_time() - began) / num_steps)
    body = harness.table(
        ["CPU microseconds a step", "fastest round", "steps replayed"],
        [[harness.spread(micros, 1), f"{min(micros):.1f}", f"{num_steps:,} x {rounds}"]],
    )
    note = (
        f"Median over {rounds} rounds (lowest-highest). {statistics.fmean(len(t['layers']) for t in traces):.0f} readings of layer "
        "norms and the evaluations of each run are in it."
    )
    command = " ".join(["python benchmarks/detectors.py", *sys.argv[1:]])
    harness.write_section("Detectors, per step", command, f"{body}\n\n{note}")


def replay(trace: dict[str, Any]) -> None:
    watch, evaluations = Watch(WatchSpec()), dict(trace["evaluations"])
    for step, (loss, norm) in enumerate(zip(trace["loss"], trace["grad_norm"], strict=True), 1):
        watch.after_step(step, loss, norm, True)
        watch.loss_limit()
        reading = step // trace["layer_steps"] - 1
        if step % trace["layer_steps"] == 0 and reading < len(trace["layers"]):
            watch.after_layer_norms(step, trace["layers"][reading])
        if step in evaluations:
            watch.after_evaluation(step, evaluations[step], None)


if __name__ == "__main__":
    main()
