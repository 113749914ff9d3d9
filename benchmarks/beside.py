"""Training beside other work: its speed alone, and with a running evaluation and a busy reader of the store.

The evaluation and the reader run as Stoker starts them, at `worker.other_nice`; the reader stands in for a busy API.
Alone and accompanied in turn, medians over rounds.

    python benchmarks/beside.py [--rounds 3] [--seconds 15]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
import models
from training import intake

from stoker.launchers.local import lower_priority
from stoker.spec.lab import WorkerSpec

_EVALUATION = """
import sys, numpy as np
from pathlib import Path
from stoker.model.device import resolve_hardware
from stoker.model.generation import generate
from stoker.model.likelihood import mean_nll
from stoker.model.load import load_for_inference
from stoker.data.dataset import Dataset
from stoker.model.tokenizing import encode_prompt, encode_row
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import TrainSpec
folder, data = Path(sys.argv[1]), Path(sys.argv[2])
ref = ModelRef(label="base", base=BaseRef(name=str(folder), folder=folder), weights_sha256="")
loaded = load_for_inference(ref, folder, resolve_hardware(TrainSpec()))
rows = Dataset(data).train_rows()[:256]
print("ready", flush=True)
while True:
    mean_nll(loaded, [encode_row(row, loaded.tokenizer)[0] for row in rows])
    generate(loaded, [encode_prompt(row.prompt_messages(), None, loaded.tokenizer) for row in rows[:64]], 64, 32)
"""
_READER = """
import json, sqlite3
from stoker.store.reader import Reader
from stoker.workspace import Workspace
import sys
from pathlib import Path
reader = Reader(Workspace(Path(sys.argv[1])))
print("ready", flush=True)
while True:
    json.dumps([reader.status(), reader.datasets(), reader.runs(), reader.versions()], default=str)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = models.make_model(folder / "5m", "5m")
        models.write_chats(folder / "train.jsonl", 2000, 7)
        dataset = intake(folder / "train.jsonl", folder)
        subprocess.run(
            [sys.executable, "-m", "stoker", "init", str(folder / "lab")], check=True, stdout=subprocess.DEVNULL
        )
        alone, beside = [], []
        for _ in range(args.rounds):
            alone.append(_train(folder, model, dataset, args.seconds))
            others = [_start(_EVALUATION, model, dataset), _start(_READER, folder / "lab")]
            try:
                beside.append(_train(folder, model, dataset, args.seconds))
            finally:
                for other in others:
                    other.kill()
                    other.wait()
    kept = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    body = (
        f"5 M model, full, {len(os.sched_getaffinity(0))} threads: {harness.spread(alone)} tokens/s alone, {harness.spread(beside)} "
        f"beside a running evaluation (as many threads) and a busy reader, both at nice {WorkerSpec().other_nice}: "
        f"{kept:.0%} kept (limit 85 %)."
    )
    harness.write_section("Training beside other work", " ".join(["python benchmarks/beside.py", *sys.argv[1:]]), body)


def _train(folder: Path, model: Path, dataset: Path, seconds: float) -> float:
    config: dict[str, Any] = {
        "model": str(model), "dataset": str(dataset), "method": "full", "threads": len(os.sched_getaffinity(0)),
        "seconds": seconds, "epochs": 50, "learning_rate": 5e-4, "batch_tokens": 0, "folder": str(folder / "run"), "output": "",
    }  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    program = Path(__file__).parent / "sides" / "stoker_side.py"
    command = [sys.executable, str(program), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return float(json.loads(done.stdout.strip().splitlines()[-1])["tokens_per_second"])


def _start(program: str, *arguments: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    lower_priority(process.pid, WorkerSpec().other_nice)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit("a neighbour did not start")
    return process


if __name__ == "__main__":
    main()
