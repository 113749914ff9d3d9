"""The "auto"s of a run that need the model or the machine: method, rate, batch, longest row. Decided once, recorded."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from stoker.data.tokens.folder import longest_row
from stoker.model.device import Hardware
from stoker.spec.jobs import TrainJob
from stoker.spec.lab import ModelSpec, TrainSpec
from stoker.spec.resolve import TINY, resolve_method

_RATES = {"tiny": 5e-3, "full": 2e-5, "lora": 2e-4, "qlora": 2e-4}
_PART_TOKENS_ON_CPU = 2048  # 3 to 10 % faster than one part of 4096, measured with 5 M and 30 M models
_NUMERIC = ("warmup_fraction", "decay_fraction", "weight_decay", "max_grad_norm", "attention")


@dataclass(frozen=True)
class Settings:
    """What a run trains with. `betas` are AdamW's; `batch_size` None: a step is counted in tokens."""

    model: ModelSpec
    train: TrainSpec
    learning_rate: float
    batch_tokens: int
    batch_size: int | None
    accumulation: int
    max_length: int
    betas: tuple[float, float]

    @property
    def method(self) -> Any:
        return self.model.method

    def sha256(self) -> str:
        """Return the identity of what decides the numbers of a step, besides the plan."""
        train = self.train.model_dump(include=set(_NUMERIC))
        model = self.model.model_dump(exclude={"base", "revision", "name"})
        return hashlib.sha256(orjson.dumps([train, model, self.learning_rate, self.betas])).hexdigest()

    def facts(self, hardware: Hardware) -> dict[str, Any]:
        """Return every value in force, for the version's manifest."""
        train = self.train.model_dump(mode="json")
        machine = {
            "device": str(hardware.device), "precision": hardware.precision, "threads": hardware.threads,
            "attention": hardware.attention, "packing": hardware.packing,
        }  # fmt: skip
        mine = asdict(self) | {"betas": list(self.betas)}
        return {**train, **self.model.model_dump(mode="json"), **machine} | {
            key: value for key, value in mine.items() if key not in ("model", "train")
        }


def resolve_settings(job: TrainJob, base_folder: Path, hardware: Hardware) -> Settings:
    """Return the run's definite settings."""
    train, is_tiny = job.train, job.base.name == TINY
    method = resolve_method(job.model, job.base)
    rate = _RATES["tiny" if is_tiny and method == "full" else method]
    batch = 1024 if is_tiny else 8192 if hardware.is_cuda else 4096
    batch = batch if train.batch_tokens == "auto" else train.batch_tokens
    parts = 1 if hardware.is_cuda else -(-batch // _PART_TOKENS_ON_CPU)
    return Settings(
        model=job.model.model_copy(update={"method": method}),
        train=train,
        learning_rate=rate if train.learning_rate == "auto" else train.learning_rate,
        batch_tokens=batch,
        batch_size=None if train.batch_size == "auto" else train.batch_size,
        accumulation=min(parts, 1024) if train.accumulation == "auto" else train.accumulation,
        max_length=longest_row(train.max_length, base_folder),
        betas=(0.9, 0.95) if is_tiny else (0.9, 0.999),
    )
