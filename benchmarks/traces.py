"""Records what real runs look like in numbers, for the tests of detectors, curves and remaining time.

Trains small models on generated data (the SYLLO task, chats, sums) over sizes, rates, batch sizes, mixed files, LoRA and
replay, and writes each run's series to `tests/analysis/detectors/traces/NAME.json`: per step loss, gradient norm before
clipping, tokens and seconds; every ten steps each layer's norm; every twenty held-out loss. Clean runs are those that
learn; `faulty-` ones were trained at a rate that breaks them. A run of a lab is recorded from its store, numbers alone.

    python benchmarks/traces.py [NAME ...]
    python benchmarks/traces.py --lab DIR RUN NAME
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from models import chats, make_model
from training import intake

import stoker.train.segment as segment
from stoker.data.dataset import Dataset
from stoker.data.rows import Row
from stoker.durable import read_manifest
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.model.base import ensure_base
from stoker.model.likelihood import mean_nll
from stoker.model.resident import Resident
from stoker.model.tokenizing import encode_row
from stoker.spec.jobs import BaseRef, DatasetRef, ModelRef, TrainJob
from stoker.spec.lab import ModelSpec, RetentionSpec, TrainSpec
from stoker.store.reader import Reader
from stoker.tasks.syllo.generate import generate_puzzles
from stoker.train.conductor import Conductor, StepFacts
from stoker.train.run import run_training
from stoker.train.trainer import SegmentTrainer
from stoker.workspace import Workspace

TRACES = Path(__file__).parent.parent / "tests" / "analysis" / "detectors" / "traces"
LAYER_STEPS, HELDOUT_STEPS, NUM_HELDOUT = 10, 20, 16


@dataclass(frozen=True)
class Case:
    """One run: data by name, the run it goes on from, and settings."""

    name: str
    data: str
    base: str = "tiny"
    method: str = "full"
    parent: str | None = None
    replay: tuple[str, ...] = ()
    rows: int = 2000
    rate: float = 5e-3
    batch_tokens: int = 384
    epochs: int = 1
    accumulation: int = 1
    decay: float = 0.2


CASES = (
    Case("easy", "easy", rows=1000, batch_tokens=512),
    Case("chats", "chats", rows=250),
    Case("faulty-rate-of-parent", "easy", parent="easy", rate=0.25, rows=300),
    Case("faulty-rate-of-chats", "chats", parent="chats", rate=0.25, rows=120),
    Case("faulty-rate-from-start", "medium", rate=0.25, rows=250),
    Case("sums", "sums", rows=1000, batch_tokens=256),
    Case("easy-slow", "easy", rows=400, rate=1e-3),
    Case("easy-fast", "easy", rows=400, rate=1e-2),
    Case("easy-small-batch", "easy", rows=300, batch_tokens=192),
    Case("medium", "medium", rows=300),
    Case("sums-after-easy", "sums", parent="easy", replay=("easy",), rows=400),
    Case("easy-again", "easy", parent="easy", rows=400),
    Case("sums-tiny-batch", "sums", rows=400, batch_tokens=64),
    Case("chats-small-batch", "chats", rows=120, batch_tokens=192, rate=2e-3),
    Case("two-kinds", "easy+chats", rows=150),
    Case("mixed-levels", "mixed", rows=300),
    Case("mixed-levels-second", "hard", parent="mixed-levels", replay=("mixed",), rows=150),
    Case("many-epochs", "easy", rows=50, epochs=8),
    Case("lora-tiny", "medium", method="lora", rows=250, rate=2e-3),
    Case("chats-after-sums", "chats", parent="sums", replay=("sums",), rows=150),
    Case("overfits", "chats", rows=16, epochs=40),
    Case("no-decay", "medium", rows=250, decay=0.0),
    Case("easy-large-batch", "easy", rows=900, batch_tokens=1024, accumulation=2),
    Case("hard", "hard", rows=200),
    Case("5m", "mixed", base="5m", rows=100, rate=1e-3, batch_tokens=256),
    Case("5m-lora", "chats", base="5m", method="lora", rows=60, rate=1e-3, batch_tokens=256),
    Case("faulty-rate-of-lora", "medium", parent="lora-tiny", method="lora", rate=0.5, rows=200),
)


class Recorder:
    """Looks at the run between two steps and keeps what it saw."""

    def __init__(self, heldout: list[Row]) -> None:
        self._heldout = heldout
        self.run: segment.Run | None = None
        self.step = 0
        self.series: dict[str, list[Any]] = {name: [] for name in ("loss", "grad_norm", "tokens", "seconds")}
        self.layers: list[dict[str, float]] = []
        self.evaluations: list[tuple[int, float]] = []

    def after_step(self, facts: StepFacts) -> None:
        self.step = facts.step
        for name, values in self.series.items():
            values.append(_short(getattr(facts, name)))
        if facts.step % HELDOUT_STEPS == 0:
            assert self.run is not None
            loaded = self.run.loaded
            encoded = [one for row in self._heldout for one in encode_row(row, loaded.tokenizer)]
            self.evaluations.append((facts.step, _short(float(np.nanmean(mean_nll(loaded, encoded))))))

    def before_clipping(self, model: Any) -> None:
        if (self.step + 1) % LAYER_STEPS:
            return
        squares: dict[str, float] = {}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                layer = _layer(name)
                squares[layer] = squares.get(layer, 0.0) + float(parameter.grad.float().norm()) ** 2
        self.layers.append({layer: _short(square**0.5) for layer, square in squares.items()})


def main() -> None:
    if sys.argv[1:2] == ["--lab"]:
        record_from_lab(*sys.argv[2:])
        return
    wanted = set(sys.argv[1:])
    TRACES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        for case in CASES:
            if not wanted or case.name in wanted or any(other.parent == case.name for other in CASES):
                lab.record(case)


def record_from_lab(lab: str, run: str, name: str) -> None:
    """Write the trace of a run that a lab has in its store."""
    found = Reader(Workspace(Path(lab).absolute())).series(run, points=0)
    values = {key: dict(zip(one["at"], one["value"], strict=True)) for key, one in found.items()}
    layers: dict[int, dict[str, float]] = {}
    for key in (key for key in values if key.startswith("grad_norm/")):
        for step, norm in values[key].items():
            layer = re.sub(r"^grad_norm/(layers\.(?=\d))?", lambda found: "layer " if found[1] else "", key)
            layers.setdefault(step, {})[layer] = _short(norm)
    series = {
        key: [None if values[key].get(step) is None else _short(values[key][step]) for step in sorted(values["loss"])]
        for key in ("loss", "grad_norm", "tokens", "seconds")
    }
    evaluations = [(step, _short(loss)) for step, loss in sorted(values.get("heldout_loss", {}).items())]
    write_trace(name, series, min(layers, default=LAYER_STEPS), [layers[step] for step in sorted(layers)], evaluations)


def write_trace(
    name: str, series: dict[str, list[Any]], layer_steps: int, layers: list[dict[str, float]],
    evaluations: list[tuple[int, float]],
) -> None:  # fmt: skip
    trace = {"name": name, "total_steps": len(series["loss"]), **series, "layer_steps": layer_steps,
             "layers": layers, "evaluations": evaluations}  # fmt: skip
    (TRACES / f"{name}.json").write_bytes(orjson.dumps(trace) + b"\n")


class Lab:
    """Datasets, bases and versions under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resident = Resident()
        self._bases: dict[str, BaseRef] = {}
        self._versions: dict[str, ModelRef] = {}

    def record(self, case: Case) -> None:
        new = [self._dataset(case.data, case.rows)]
        replay = [self._dataset(name, case.rows) for name in case.replay]
        recorder = Recorder(list(_rows(case.data, NUM_HELDOUT, seed=7)))
        folder = self.folder / case.name
        folder.mkdir()
        with_recorder(recorder)
        job = self._job(case, folder, new, replay)
        exit = run_training(job, folder, Outbox(folder), self.resident)
        if exit is WorkerExit.DONE:
            sha256 = read_manifest(job.output)["weights_sha256"]
            self._versions[case.name] = ModelRef(
                label=case.name, base=job.base, folder=job.output, weights_sha256=sha256, method=case.method
            )
        write_trace(case.name, recorder.series, LAYER_STEPS, recorder.layers, recorder.evaluations)
        losses = recorder.series["loss"]
        print(case.name, exit.name, len(losses), "steps", losses[0], "->", losses[-1], flush=True)

    def _job(self, case: Case, folder: Path, new: list[DatasetRef], replay: list[DatasetRef]) -> TrainJob:
        train = TrainSpec(
            epochs=case.epochs, learning_rate=case.rate, batch_tokens=case.batch_tokens, precision="fp32", threads=1,
            accumulation=case.accumulation, decay_fraction=case.decay, checkpoint_seconds=1e6,
        )  # fmt: skip
        return TrainJob(
            run=case.name, fence=1, base=self._base(case.base), base_folder=self.folder / "tiny",
            parent=self._versions[case.parent] if case.parent else None, new=tuple(new), replay=tuple(replay),
            output=folder / "version", model_name="main", version=1,
            model=ModelSpec(base="tiny", method=case.method), train=train, retention=RetentionSpec(),
            tokens=self.folder / "tokens",
        )  # fmt: skip

    def _base(self, name: str) -> BaseRef:
        if name not in self._bases:
            if name == "tiny":
                rows = [row for kind in ("mixed", "chats", "sums") for row in _rows(kind, 1000, seed=1)]
                self._bases[name] = BaseRef(name="tiny", folder=self.folder / "tiny")
                ensure_base(self._bases[name], self.folder / "tiny", rows, 0)
            else:
                folder = make_model(self.folder / name, name)
                self._bases[name] = BaseRef(name=str(folder), folder=folder)
        return self._bases[name]

    def _dataset(self, data: str, num: int) -> DatasetRef:
        folder = self.folder / f"{data}-{num}"
        if not folder.exists():
            folder.mkdir()
            lines = [orjson.dumps({"prompt": row[0], "answer": row[1]}) for row in _pairs(data, num, seed=0)]
            (folder / f"{data}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
            intake(folder / f"{data}.jsonl", folder)
            assert next(iter(Dataset(folder / "dataset").train_rows()), None) is not None
        return DatasetRef(id=f"{data}-{num}", folder=folder / "dataset", name=f"{data}.jsonl")


def with_recorder(recorder: Recorder) -> None:
    """Give every run of this process the recorder as its observer, and show it the gradients before clipping."""

    def conductor(run: segment.Run) -> Conductor:
        recorder.run = run
        return Conductor(
            run.plan, run.progress, run.settings.train, run.outbox, run.control, rate_at=run.rate_at, save=run.save,
            make_room=run.checkpoints.drop_spares, observers=[recorder],
        )  # fmt: skip

    clip: Callable[[SegmentTrainer, Any], Any] = _CLIP

    def clipped(trainer: SegmentTrainer, model: Any) -> Any:
        recorder.before_clipping(model)
        return clip(trainer, model)

    segment._conductor = conductor
    SegmentTrainer._clip_grad_norm = clipped  # type: ignore[method-assign]


_CLIP = SegmentTrainer._clip_grad_norm


def _pairs(data: str, num: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield prompts and answers; kinds joined by + take turns."""
    if "+" in data:
        for pair in zip(*(_pairs(kind, num, seed) for kind in data.split("+")), strict=True):
            yield from pair
    elif data == "chats":
        yield from ((chat["prompt"], chat["answer"]) for chat in chats(num, seed))
    elif data == "sums":
        draw = random.Random(seed)
        for number in range(num):
            a, b = draw.randrange(100), draw.randrange(100)
            yield f"{number}: {a} + {b} = ?", f"{a} + {b} is {a + b}, and {b} + {a} is {a + b} too"
    else:
        yield from ((puzzle.prompt, puzzle.answer) for puzzle in generate_puzzles(num, seed, data))


def _rows(data: str, num: int, seed: int) -> Iterator[Row]:
    for number, (prompt, answer) in enumerate(_pairs(data, num, seed), 1):
        messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
        yield Row.from_content(number, messages)


def _layer(name: str) -> str:
    found = re.search(r"layers\.(\d+)\.", name)
    return f"layer {found[1]}" if found else "embedding" if "embed" in name else "output"


def _short(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
