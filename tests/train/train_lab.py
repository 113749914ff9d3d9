"""A small lab for tests of training: datasets on disk, jobs on the tiny base, and what their messages say."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import orjson
from safetensors.numpy import load_file

from stoker.data.rows import Row
from stoker.durable import publish_folder, read_manifest
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES, Outbox
from stoker.mailbox.row_losses import read_visits
from stoker.model.resident import Resident
from stoker.spec.jobs import JOB, BaseRef, DatasetRef, ModelRef, TrainJob
from stoker.spec.lab import ModelSpec, RetentionSpec, TrainSpec
from stoker.train.run import run_training

WORDS = ["ash", "birch", "cedar", "elm", "fir", "gum", "hazel", "iris", "kauri", "larch", "maple", "neem", "oak", "yew"]


def make_dataset(lab: Path, number: int, rows: int = 48, longest: int = 12, heldout: int = 0) -> DatasetRef:
    """Publish a dataset of little conversations, the last `heldout` of them sealed."""
    draw = random.Random(number)
    folder = lab / "datasets" / f"d{number:012x}"
    with publish_folder(folder, {"kind": "dataset"}) as staging:
        lines = []
        for line in range(1, rows + heldout + 1):
            words = [draw.choice(WORDS) for _ in range(draw.randint(2, longest))]
            messages = [
                {"role": "user", "content": f"{number}: turn around {' '.join(words)}"},
                {"role": "assistant", "content": " ".join(reversed(words))},
            ]
            lines.append(orjson.dumps(Row.from_content(line, messages).to_json() | {"is_representative": True}))
        (staging / "rows.jsonl").write_bytes(b"\n".join(lines[:rows]) + b"\n")
        (staging / "heldout.jsonl").write_bytes(b"\n".join(lines[rows:]))
        (staging / "ledger.jsonl").write_bytes(b"")
        (staging / "dataset.json").write_bytes(orjson.dumps({"id": folder.name, "name": f"file{number}.jsonl"}))
    return DatasetRef(id=folder.name, folder=folder, name=f"file{number}.jsonl")


def make_job(
    lab: Path, run: str, new, *, replay=(), parent=None, version=1, method="auto", fence=1, model=None, **train
):
    """Write a run's job and return it with its folder."""
    settings = {"batch_tokens": 192, "threads": 1, "precision": "fp32", "checkpoint_seconds": 1e6, **train}
    job = TrainJob(
        run=run,
        fence=fence,
        base=BaseRef(name="tiny", folder=lab / "bases" / "tiny"),
        base_folder=lab / "bases" / "tiny",
        parent=parent,
        new=tuple(new),
        replay=tuple(replay),
        output=lab / "models" / f"{run}-v{version}",
        model_name="main",
        version=version,
        model=ModelSpec(method=method, **(model or {})),
        train=TrainSpec(**settings),
        retention=RetentionSpec(),
        tokens=lab / "tokens",
    )
    folder = lab / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).write_text(job.model_dump_json())
    return job, folder


def train(job: TrainJob, folder: Path, resident: Resident | None = None):
    """Run a job in this process and return its exit."""
    outbox = Outbox(folder, job.fence)
    try:
        return run_training(job, folder, outbox, resident or Resident())
    finally:
        outbox._journal.close()


def messages(folder: Path, kind: str | None = None) -> list[dict]:
    reader, found = JournalReader(folder / MESSAGES), list[dict]()
    while records := reader.read():
        found += records
    return [message for message in found if kind is None or message["kind"] == kind]


def losses(folder: Path) -> dict[int, float]:
    """Return each step's loss; a redone step's last one, and it must be the same one."""
    by_step: dict[int, float] = {}
    for message in messages(folder, "step"):
        assert by_step.get(message["step"], message["loss"]) == message["loss"], message
        by_step[message["step"]] = message["loss"]
    return by_step


def final_losses(folder: Path) -> dict[int, float]:
    """Return each step's loss as it came last: a step that is done again may be another than the one before it."""
    return {message["step"]: message["loss"] for message in messages(folder, "step")}


def history(folder: Path, dataset: DatasetRef) -> list[tuple[int, int, float, int]]:
    """Return (row, step, summed NLL, tokens) of every visit of a dataset's rows."""
    found = read_visits(folder, dataset.id)
    return sorted(zip(*(column.tolist() for column in (found.row, found.step, found.nll, found.tokens)), strict=True))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """Return every tensor of a version, moments too."""
    return {
        f"{path.name}:{name}": value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()
    }


def assert_same_version(left: Path, right: Path) -> None:
    a, b = tensors(left), tensors(right)
    assert a.keys() == b.keys()
    different = [name for name in a if not np.array_equal(a[name], b[name])]
    assert different == []


def as_parent(job: TrainJob, method: str = "full") -> ModelRef:
    facts = read_manifest(job.output)
    return ModelRef(
        label=f"main/v{job.version}", base=job.base, folder=job.output, method=method,
        weights_sha256=facts["weights_sha256"],
    )  # fmt: skip
