"""Training speed: Stoker beside TRL (defaults; tuned) and a plain PyTorch loop over Stoker's own batches.

Same model, same rows, one process a side, sides in turn, medians over rounds. A token counts when it is real, not
padding. Stoker's side has the environment that a lab's worker gets. The held-out loss after one epoch at the same
constant rate and about the same number of steps is compared in a second part (`--loss`).

    python benchmarks/training.py [--sizes 5m,30m] [--methods full,lora] [--threads 1,2] [--rounds 3] [--loss]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import models
from sides.clock import WARM_UP_STEPS

from stoker.launchers import local

SIDES = ("trl", "trl-tuned", "stoker", "plain")
_SPEED_HEADER = (
    *("model", "method", "cores", "TRL defaults", "TRL tuned", "plain loop", "Stoker"),
    *("of TRL", "of tuned", "of plain"),
)
_PROGRAMS = {"trl": "trl_side.py", "trl-tuned": "trl_side.py", "stoker": "stoker_side.py", "plain": "plain_side.py"}


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), args)
        tell = bench.losses if args.loss else bench.speed
        for body in tell():
            print(body, file=sys.stderr)
    section = "Held-out loss after one epoch" if args.loss else f"Training speed, {harness.precision()}"
    harness.write_section(section, "python " + " ".join(["benchmarks/training.py", *sys.argv[1:]]), body)


class Bench:
    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder, self.args = folder, args
        self.train = folder / "train.jsonl"
        models.write_chats(self.train, args.rows, 7)
        models.write_chats(folder / "heldout.jsonl", 200, 8)
        self.dataset = intake(self.train, folder)
        self.models = {size: models.make_model(folder / size, size) for size in args.sizes}

    def speed(self) -> Iterator[str]:
        """Yield the table so far, after each round."""
        speeds: dict[tuple[str, str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        fill = []
        for round_number in range(1, self.args.rounds + 1):
            for case in self._cases():
                for side in SIDES:
                    result = self._run(side, *case, seconds=self.args.seconds)
                    speeds[case][side].append(result["tokens_per_second"])
                    fill += [result["fill"]] if "fill" in result else []
                    print(side, *case, f"{result['tokens_per_second']:,.0f} tokens/s", file=sys.stderr)
            rows = [_speed_row(case, sides) for case, sides in speeds.items()]
            yield harness.table(_SPEED_HEADER, rows) + "\n\n" + self._speed_note(round_number, min(fill))

    def _speed_note(self, num_rounds: int, fill: float) -> str:
        return (
            f"Real tokens per second, median (range) of {num_rounds} rounds; a side ran for {self.args.seconds:g} s, and "
            f"at least one step, after {WARM_UP_STEPS} steps of warm-up. {fill:.1%} of Stoker's computed positions held "
            "real tokens. TRL's bf16 is off where the hardware has none."
        )

    def losses(self) -> Iterator[str]:
        """Yield the table so far, after each case. Steps are as many as TRL's: 8 rows' worth of tokens each."""
        from heldout import heldout_loss

        rows: list[list[str]] = []
        header = ["model", "method", "cores", "untrained", "TRL tuned", "Stoker", "Stoker / TRL"]
        for case in self._cases():
            losses = {}
            self.args.batch_tokens = 8 * models.mean_tokens(self.models[case[0]], self.train)
            for side in ("trl-tuned", "stoker"):
                output = self.folder / "out" / "-".join([side, *map(str, case)])
                self._run(side, *case, seconds=1e9, output=output)
                losses[side] = heldout_loss(self.models[case[0]], output, self.folder / "heldout.jsonl")
            before = heldout_loss(self.models[case[0]], self.models[case[0]], self.folder / "heldout.jsonl")
            ratio = losses["stoker"] / losses["trl-tuned"]
            rows.append(
                [*map(str, case), f"{before:.4f}", *(f"{loss:.4f}" for loss in losses.values()), f"{ratio:.4f}"]
            )
            yield harness.table(header, rows)

    def _cases(self) -> Iterator[tuple[str, str, int]]:
        for size in self.args.sizes:
            for method in self.args.methods:
                for threads in self.args.threads:
                    yield size, method, threads

    def _run(
        self, side: str, size: str, method: str, threads: int, *, seconds: float, output: Path | None = None
    ) -> dict[str, Any]:
        config = {
            "side": side, "model": str(self.models[size]), "train": str(self.train), "dataset": str(self.dataset),
            "method": method, "threads": threads, "seconds": seconds, "epochs": 1 if output else 50,
            "learning_rate": 1e-3 if method == "lora" else 5e-4, "batch_tokens": self.args.batch_tokens,
            "folder": str(self.folder / "runs" / f"{size}-{method}-{threads}"), "output": str(output or ""),
        }  # fmt: skip
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        program = Path(__file__).parent / "sides" / _PROGRAMS[side]
        command = [sys.executable, str(program), str(path)]
        if hasattr(os, "sched_setaffinity"):
            cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:threads])
            command = ["taskset", "-c", cores, *command]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if side == "stoker":
            environment = local.environment(threads=threads, is_training=True)
        environment["HF_HUB_OFFLINE"] = "1"
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])


def intake(file: Path, folder: Path, num_sealed: int = 0) -> Path:
    """Make a dataset version of `file` as the lab would, with so many clusters of rows held out."""
    from stoker.durable import sha256_file
    from stoker.spec.jobs import JOB, DatasetRef, IntakeJob
    from stoker.spec.lab import IntakeSpec, SplitSpec

    task, dataset = folder / "intake", folder / "dataset"
    task.mkdir()
    job = IntakeJob(
        dataset=DatasetRef(id="d1", folder=dataset, name=file.name),
        file=file,
        file_sha256=sha256_file(file),
        intake=IntakeSpec(allow_unproven=True),
        split=SplitSpec(fraction=0.0, min_clusters=num_sealed, max_clusters=num_sealed),
    )
    (task / JOB).write_text(job.model_dump_json())
    subprocess.run([sys.executable, "-m", "stoker.data", str(task)], check=True)
    return dataset


def _speed_row(case: tuple[str, str, int], sides: dict[str, list[float]]) -> list[str]:
    def ratio(other: str) -> str:
        return f"{statistics.median(a / b for a, b in zip(sides['stoker'], sides[other], strict=True)):.2f}"

    speeds = [harness.spread(sides[side]) for side in ("trl", "trl-tuned", "plain", "stoker")]
    return [*map(str, case), *speeds, ratio("trl"), ratio("trl-tuned"), ratio("plain")]


def _arguments() -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=names, default=["5m", "30m"])
    parser.add_argument("--methods", type=names, default=["full", "lora"])
    parser.add_argument("--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="measured time a side")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--batch-tokens", type=int, default=0, help="Stoker's batch_tokens; 0: its own choice")
    parser.add_argument("--loss", action="store_true", help="compare held-out loss after one epoch instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
