"""Stoker's own training of one job, in this process: what its step messages say it did."""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from clock import WARM_UP_STEPS

from stoker.errors import WorkerExit
from stoker.mailbox.control import send_control
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES, Outbox
from stoker.model.resident import Resident
from stoker.spec.jobs import JOB, BaseRef, DatasetRef, TrainJob
from stoker.spec.lab import ModelSpec, RetentionSpec, TrainSpec
from stoker.train.run import run_training


def run(config: dict[str, Any]) -> dict[str, float]:
    folder = Path(config["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = train_job(config, folder)
    (folder / JOB).write_text(job.model_dump_json())
    reader = JournalReader(folder / MESSAGES)
    steps: list[dict[str, Any]] = []
    outbox = Outbox(folder)
    worker = threading.Thread(target=_watch, args=(folder, reader, steps, config["seconds"]), daemon=True)
    worker.start()
    exit = run_training(job, folder, outbox, Resident())
    assert exit in (WorkerExit.DONE, WorkerExit.PAUSED), exit
    steps += [record for record in reader.read() if record["kind"] == "step"]
    counted = steps[WARM_UP_STEPS:]
    seconds = counted[-1]["time"] - steps[WARM_UP_STEPS - 1]["time"]
    return {"tokens_per_second": sum(step["tokens"] for step in counted) / seconds, "steps": len(steps)}


def _watch(folder: Path, reader: JournalReader, steps: list[dict[str, Any]], limit_seconds: float) -> None:
    """Ask for a stop once the time is over."""
    while True:
        time.sleep(0.2)
        steps += [record for record in reader.read() if record["kind"] == "step"]
        if len(steps) > WARM_UP_STEPS and steps[-1]["time"] - steps[WARM_UP_STEPS - 1]["time"] > limit_seconds:
            send_control(folder, "stop")
            return


def train_job(config: dict[str, Any], folder: Path) -> TrainJob:
    train: dict[str, Any] = {
        "threads": config["threads"],
        "epochs": config["epochs"],
        "learning_rate": config["learning_rate"],
        "warmup_fraction": 0.0,
        "decay_fraction": 0.0,
        "weight_decay": 0.0,
        "checkpoint_seconds": 1e6,
        **config.get("train", {}),
    }
    if config["batch_tokens"]:
        train["batch_tokens"] = config["batch_tokens"]
    return TrainJob(
        run="r1",
        fence=1,
        base=BaseRef(name=config["model"], folder=Path(config["model"])),
        base_folder=Path(config["model"]),
        new=(DatasetRef(id="d1", folder=Path(config["dataset"]), name="train.jsonl"),),
        output=Path(config["output"] or folder / "version"),
        model_name="main",
        version=1,
        model=ModelSpec(base=config["model"], method=config["method"]),
        train=TrainSpec(**train),
        retention=RetentionSpec(),
        tokens=folder / "tokens",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    print(json.dumps(run(json.loads(parser.parse_args().config.read_text()))))
