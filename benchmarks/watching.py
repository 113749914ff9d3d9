"""What watching costs: the time a worker spends on messages, row losses and control, as a share of its step time.

A run of a 5 M model on one core with the sending, the recording and the polling timed in the process itself. And the record
of a step alone, sent many times in a row.

    python benchmarks/watching.py [--seconds 20]
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


RECORDS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    import stoker_side

    from stoker.mailbox.control import ControlInbox
    from stoker.mailbox.messages import Outbox
    from stoker.mailbox.row_losses import RowLossWriter
    from stoker.train.trainer import SegmentTrainer

    record = _record_microseconds()
    spent: dict[str, float] = {"send": 0.0, "rows": 0.0, "poll": 0.0}
    RowLossWriter.append = _timed(RowLossWriter.append, spent, "rows")  # type: ignore[method-assign]
    SegmentTrainer.read_row_losses = _timed(SegmentTrainer.read_row_losses, spent, "rows")  # type: ignore[method-assign]
    Outbox.send = _timed(Outbox.send, spent, "send")  # type: ignore[method-assign]
    ControlInbox.read = _timed(ControlInbox.read, spent, "poll")  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models.write_chats(folder / "train.jsonl", 2000, 7)
        config = {
            "model": str(models.make_model(folder / "5m", "5m")), "dataset": str(intake(folder / "train.jsonl", folder)),
            "method": "full", "threads": 1, "seconds": args.seconds, "epochs": 50, "learning_rate": 5e-4,
            "batch_tokens": 0, "folder": str(folder / "run"), "output": "",
        }  # fmt: skip
        started = time.perf_counter()
        result = stoker_side.run(config)
        whole = time.perf_counter() - started
    per_step = {name: 1e6 * seconds / result["steps"] for name, seconds in spent.items()}
    share = sum(spent.values()) / min(whole, args.seconds)
    body = (
        f"The record of a step: {harness.spread(record, 1)} us (limit 100; median and range of {len(record)} times {RECORDS:,}).\n\n"
        f"{result['steps']} steps in {args.seconds:g} s; all messages of the run {per_step['send']:.0f} us a step, its rows' losses "
        f"{per_step['rows']:.0f} us, its look at the control file "
        f"{per_step['poll']:.0f} us: {share:.2%} of the step time (limit 1 %)."
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


def _timed(inner: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    def timed(*args: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return inner(*args, **named)
        finally:
            spent[name] += time.perf_counter() - started

    return timed


if __name__ == "__main__":
    main()
