from pathlib import Path

import orjson
import pytest
import torch

from stoker.model.device import Hardware
from stoker.spec.jobs import BaseRef, DatasetRef, TrainJob
from stoker.spec.lab import ModelSpec, RetentionSpec, TrainSpec
from stoker.train.resolve import resolve_settings

CPU = Hardware(torch.device("cpu"), torch.float32, 1, "eager", False)
CUDA = Hardware(torch.device("cuda"), torch.bfloat16, 1, "sdpa", False)


@pytest.fixture
def base(tmp_path):
    (tmp_path / "config.json").write_bytes(orjson.dumps({"max_position_embeddings": 32768}))
    return tmp_path


def job(name="tiny", method="auto", **train):
    return TrainJob(
        run="r1", fence=1, base=BaseRef(name=name), base_folder=Path("/base"),
        new=(DatasetRef(id="d1", folder=Path("/d1"), name="a.jsonl"),), output=Path("/v1"), model_name="main", version=1,
        model=ModelSpec(base=name, method=method), train=TrainSpec(**train), retention=RetentionSpec(), tokens=Path("/t"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "method", "hardware", "expected"),
    [
        ("tiny", "auto", CPU, ("full", 5e-3, 1024, (0.9, 0.95))),
        ("some/model", "auto", CPU, ("lora", 2e-4, 4096, (0.9, 0.999))),
        ("some/model", "full", CUDA, ("full", 2e-5, 8192, (0.9, 0.999))),
        ("tiny", "lora", CPU, ("lora", 2e-4, 1024, (0.9, 0.95))),
    ],
)
def test_autos_become_numbers(base, name, method, hardware, expected):
    settings = resolve_settings(job(name, method), base, hardware)
    assert (settings.method, settings.learning_rate, settings.batch_tokens, settings.betas) == expected


def test_what_is_set_is_taken(base):
    settings = resolve_settings(job(learning_rate=1e-3, batch_tokens=77, max_length=99), base, CPU)
    assert (settings.learning_rate, settings.batch_tokens, settings.max_length) == (1e-3, 77, 99)


def test_the_identity_of_settings_follows_what_decides_the_numbers(base):
    of = lambda **train: resolve_settings(job(**train), base, CPU).sha256()  # noqa: E731
    assert of() == of(checkpoint_seconds=5.0) == of(max_skipped_steps=9)
    assert len({of(), of(learning_rate=1e-4), of(weight_decay=0.5), of(max_grad_norm=2.0)}) == 4
