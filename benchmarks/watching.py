"""What watching costs: everything that a worker does beside training, as a share of its step time.

A run of a 5 M model on one core, whole, in rounds: with everything on (a message and the rows' losses each step, layer norms
every 10 steps, held-out loss and samples within `train.watch_share`) and bare (messages alone). Two measures: the processor time
spent in all that is not training, timed in the process itself, and the processor time per token of the two runs, interleaved.

    python benchmarks/watching.py [--rows 500] [--rounds 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import models
from training import intake

sys.path.insert(0, str(Path(__file__).parent / "sides"))

BARE = {"layer_norms_every": 0, "eval_every": 0, "sample_every": 0}
NUM_SEALED = 40
RECORDS = 2000


class Meter:
    """Processor time in watched calls by name, the outermost alone, and at each step's message."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.steps: list[tuple[float, int]] = []
        self._is_inside = False

    def watch(self, owner: Any, method: str, name: str) -> None:
        setattr(owner, method, self._timed(getattr(owner, method), name))

    def _timed(self, inner: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            if len(args) > 1 and args[1] == "step":
                self.steps.append((time.process_time(), named["tokens"]))
            if self._is_inside:
                return inner(*args, **named)
            self._is_inside, started = True, time.process_time()
            try:
                return inner(*args, **named)
            finally:
                self._is_inside = False
                self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - started

        return timed

    def take(self) -> tuple[dict[str, float], float, int]:
        """Return processor seconds by name and of the steps as a whole, and the tokens trained; begin anew."""
        spent, steps = self.spent, self.steps
        self.spent, self.steps = {}, []
        return spent, steps[-1][0] - steps[0][0], sum(tokens for _, tokens in steps[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    import stoker_side

    record = _record_microseconds()
    meter = _meter()
    shares: list[float] = []
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models.write_chats(folder / "train.jsonl", args.rows, 7)
        config = {
            "model": str(models.make_model(folder / "5m", "5m")),
            "dataset": str(intake(folder / "train.jsonl", folder, NUM_SEALED)), "method": "full", "threads": 1,
            "seconds": 1e9, "epochs": 1, "learning_rate": 5e-4, "batch_tokens": 1024, "folder": str(folder / "run"),
            "output": "",
        }  # fmt: skip
        for _ in range(args.rounds):
            stoker_side.run({**config, "train": BARE})
            _, bare_seconds, bare_tokens = meter.take()
            result = stoker_side.run(config)
            spent, seconds, tokens = meter.take()
            shares.append(100 * sum(spent.values()) / (seconds - sum(spent.values())))
            ratios.append(100 * ((seconds / tokens) / (bare_seconds / bare_tokens) - 1))
    parts = ", ".join(f"{name} {1e3 * seconds / result['steps']:.2f} ms" for name, seconds in sorted(spent.items()))
    body = (
        f"The record of a step: {harness.spread(record, 1)} us (limit 100; median and range of {len(record)} times {RECORDS:,}).\n\n"
        f"{result['steps']:.0f} steps; with everything on, processor time beside training is {harness.spread(shares, 2)} % of that of "
        f"training (limit 2 %); a step's part of it in the last round: {parts}. Against the bare run, interleaved, a token took "
        f"{harness.spread(ratios, 1)} % more processor time."
    )
    harness.write_section("Cost of watching", " ".join(["python benchmarks/watching.py", *sys.argv[1:]]), body)


def _record_microseconds() -> list[float]:
    """Microseconds that a worker spends to record a step, in rounds of RECORDS."""
    from stoker.mailbox.messages import Outbox

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder))
        for _ in range(10):
            started = time.perf_counter()
            for step in range(RECORDS):
                outbox.send(
                    "step", step=step, total_steps=RECORDS, loss=1.2345 / (step + 1), learning_rate=2e-4, grad_norm=0.71,
                    tokens=1024, rows=12, seconds=0.123, epoch=0.25,
                )  # fmt: skip
            rounds.append(1e6 * (time.perf_counter() - started) / RECORDS)
    return rounds


def _meter() -> Meter:
    from stoker.mailbox.control import ControlInbox
    from stoker.mailbox.messages import Outbox
    from stoker.mailbox.row_losses import RowLossWriter
    from stoker.train.healing import Healer
    from stoker.train.observing.heldout import HeldoutLoss
    from stoker.train.observing.layer_norms import LayerNorms
    from stoker.train.observing.samples import Samples
    from stoker.train.trainer import SegmentTrainer

    meter = Meter()
    for owner, method, name in (
        (HeldoutLoss, "after_step", "held-out loss"), (Samples, "after_step", "samples"),
        (Healer, "after_step", "detectors"), (LayerNorms, "measure", "layer norms"), (LayerNorms, "after_step", "layer norms"),
        (RowLossWriter, "append", "rows' losses"), (SegmentTrainer, "read_row_losses", "rows' losses"),
        (Outbox, "send", "messages"), (ControlInbox, "read", "control file"),
    ):  # fmt: skip
        meter.watch(owner, method, name)
    return meter


if __name__ == "__main__":
    main()
