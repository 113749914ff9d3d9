from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from stoker.data.dataset import Dataset
from stoker.data.rows import Row
from stoker.durable import publish_folder
from stoker.errors import Damaged, SettingError
from stoker.model import device
from stoker.model.base import base_sha256, ensure_base
from stoker.model.device import autocast, resolve_hardware
from stoker.model.load import load_tokenizer
from stoker.model.tiny import ensure_tiny
from stoker.model.token_cache import encode_dataset
from stoker.model.tokenizing import encode_rows
from stoker.spec.jobs import BaseRef
from stoker.spec.lab import ModelSpec, TrainSpec
from stoker.spec.resolve import resolve_method


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """A base's folder to spoil."""
    copy = tmp_path / "base"
    shutil.copytree(tiny_base, copy)
    (copy / "manifest.json").unlink()
    return copy


def test_tiny_has_about_a_million_parameters_and_a_context_of_4096(load_base: Any, fp32: Any) -> None:
    model = load_base(fp32).model
    assert 0.9e6 < sum(p.numel() for p in model.parameters()) < 1.2e6
    assert model.config.max_position_embeddings == 4096 and model.config.model_type == "qwen3"


_MAKE = """
import sys, orjson
from pathlib import Path
from stoker.data.rows import Row
from stoker.model.tiny import ensure_tiny
rows = [Row.from_json(record) for record in orjson.loads(sys.stdin.buffer.read())]
ensure_tiny(Path(sys.argv[1]), rows, 0)
"""


def test_the_same_rows_and_seed_make_the_same_tiny_in_any_order_and_process(
    tiny_base: Path, tiny_rows: list[Row], tmp_path: Path
) -> None:
    records = orjson.dumps([row.to_json() for row in reversed(tiny_rows)])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", _MAKE, tmp_path / "again"], input=records, check=True, env=environment)
    assert base_sha256(tmp_path / "again") == base_sha256(tiny_base)
    ensure_tiny(tmp_path / "other", tiny_rows, seed=1)
    assert base_sha256(tmp_path / "other") != base_sha256(tiny_base)


def test_a_tiny_that_is_there_is_verified_and_not_made_again(tiny_base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_base, copy)
    assert ensure_base(BaseRef(name="tiny"), copy, [], seed=5) == copy
    (copy / "config.json").write_text("{}")
    with pytest.raises(Damaged, match=r"config\.json"):
        ensure_base(BaseRef(name="tiny"), copy, [], seed=5)


def test_a_folder_that_holds_a_model_is_a_base(folder: Path, tmp_path: Path) -> None:
    assert ensure_base(BaseRef(name=str(folder)), tmp_path / "tiny", [], 0) == folder
    assert ensure_base(BaseRef(name="any/name", folder=folder), tmp_path / "tiny", [], 0) == folder


def spoil(folder: Path, how: str) -> None:
    if how == "pickle":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    if how == "no weights":
        (folder / "model.safetensors").unlink()
    if how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    if how == "no template":
        (folder / "chat_template.jinja").unlink()
    if how == "no config":
        (folder / "config.json").unlink()
    if how == "own code":
        config = orjson.loads((folder / "config.json").read_bytes())
        (folder / "config.json").write_bytes(orjson.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("pickle", r"only pickled weights \(pytorch_model.bin\); a pickle can run any code"),
        ("no weights", "no weights"),
        ("no tokenizer", "no tokenizer"),
        ("no template", "no chat template; .*chat_template.jinja"),
        ("no config", "no config.json"),
        ("own code", "its own Python code .*never runs here"),
    ],
)
def test_a_folder_that_lacks_something_says_what_and_why(how: str, message: str, folder: Path, tmp_path: Path) -> None:
    spoil(folder, how)
    with pytest.raises(SettingError, match=message):
        ensure_base(BaseRef(name=str(folder)), tmp_path / "tiny", [], 0)


def test_a_base_that_is_nowhere_is_named(tmp_path: Path) -> None:
    for name in ("/no/such/folder", "./nothing", "word", "a/b/c"):
        with pytest.raises(SettingError, match="there is no such folder"):
            ensure_base(BaseRef(name=name), tmp_path / "tiny", [], 0)


def test_the_bases_hash_follows_weights_config_and_tokenizer(folder: Path) -> None:
    before = base_sha256(folder)
    (folder / "notes.txt").write_text("not part of the model")
    assert base_sha256(folder) == before
    for name in ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert base_sha256(folder) != before
        (folder / name).write_bytes(content)
    assert base_sha256(folder) == before


def test_the_method_is_full_for_tiny_and_lora_for_others_unless_set() -> None:
    tiny, other = BaseRef(name="tiny"), BaseRef(name="Qwen/Qwen3-0.6B")
    assert [resolve_method(ModelSpec(), base) for base in (tiny, other)] == ["full", "lora"]
    assert [resolve_method(ModelSpec(method="qlora"), base) for base in (tiny, other)] == ["qlora", "qlora"]


def test_hardware_follows_the_settings() -> None:
    before = torch.get_num_threads()
    try:
        hardware = resolve_hardware(TrainSpec(threads=1, precision="bf16", attention="sdpa", packing="on"))
        assert torch.get_num_threads() == hardware.threads == 1
        assert (hardware.dtype, hardware.attention, hardware.packing) == (torch.bfloat16, "sdpa", True)
        assert hardware.precision == "bf16"
        with autocast(hardware):
            assert torch.is_autocast_enabled(hardware.device.type)
        exact = resolve_hardware(TrainSpec(threads=1, precision="fp32"))
        with autocast(exact):
            assert not torch.is_autocast_enabled("cpu")
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU chooses")
def test_a_cpu_chooses_eager_attention_no_packing_and_bf16_where_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_bf16 in (False, True):
        monkeypatch.setattr(device, "_has_bf16", lambda _, value=has_bf16: value)
        hardware = resolve_hardware(TrainSpec(threads=torch.get_num_threads()))
        assert hardware.dtype is (torch.bfloat16 if has_bf16 else torch.float32)
        assert (hardware.attention, hardware.packing) == ("eager", False)
    with pytest.raises(SettingError, match="flash_attn"):
        resolve_hardware(TrainSpec(threads=torch.get_num_threads(), attention="flash_attention_2"))


def publish_dataset(folder: Path, rows: list[Row]) -> Dataset:
    with publish_folder(folder) as staging:
        train = [row.to_json() for row in rows[:-4]]
        sealed = [{**row.to_json(), "cluster": i, "is_representative": True} for i, row in enumerate(rows[-4:])]
        (staging / "rows.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in train))
        (staging / "heldout.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in sealed))
    return Dataset(folder)


def test_a_dataset_is_tokenised_once_and_read_back_the_same(
    tiny_base: Path, tiny_rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, tokenizer = publish_dataset(tmp_path / "d1", tiny_rows * 20), load_tokenizer(tiny_base)
    made = encode_dataset(dataset, tokenizer, "train", tmp_path / "tokens")
    monkeypatch.setattr("stoker.model.token_cache.encode_rows", None)
    read = encode_dataset(dataset, tokenizer, "train", tmp_path / "tokens")
    expected = [sequence for row in encode_rows(dataset.train_rows(), tokenizer) for sequence in row]
    assert len(read) == len(made) == len(expected) and isinstance(read.ids.base, np.memmap)
    for one, other in zip(read, expected, strict=True):
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.trained, other.trained)
        assert (one.row_id, one.line) == (other.row_id, other.line)
    assert read.lengths.tolist() == [len(s) for s in expected] and read.refused == ()
    assert [len(s) for s in read[2:4]] == [len(s) for s in expected[2:4]] and len(read[-1]) == len(expected[-1])


def test_the_sealed_side_another_template_and_other_rows_have_tokens_of_their_own(
    tiny_base: Path, tiny_rows: list[Row], tmp_path: Path
) -> None:
    dataset, tokenizer = publish_dataset(tmp_path / "d1", tiny_rows), load_tokenizer(tiny_base)
    train = encode_dataset(dataset, tokenizer, "train", tmp_path / "tokens")
    sealed = encode_dataset(dataset, tokenizer, "heldout", tmp_path / "tokens")
    assert (len(train.row_ids), len(sealed.row_ids)) == (61, 4)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\\n", "assistant: ")
    assert not np.array_equal(encode_dataset(dataset, tokenizer, "train", tmp_path / "tokens").ids, train.ids)
    other = publish_dataset(tmp_path / "more" / "d1", tiny_rows[:30])
    assert len(encode_dataset(other, tokenizer, "train", tmp_path / "tokens").row_ids) == 26


def test_damaged_tokens_are_made_again(tiny_base: Path, tiny_rows: list[Row], tmp_path: Path) -> None:
    dataset, tokenizer = publish_dataset(tmp_path / "d1", tiny_rows), load_tokenizer(tiny_base)
    made = encode_dataset(dataset, tokenizer, "train", tmp_path / "tokens").ids.copy()
    (path,) = (tmp_path / "tokens").glob("*/ids.npy")
    path.write_bytes(path.read_bytes()[:-4] + b"\1\2\3\4")
    assert np.array_equal(encode_dataset(dataset, tokenizer, "train", tmp_path / "tokens").ids, made)


def test_rows_that_the_template_refuses_are_set_aside_and_remembered(
    tiny_base: Path, tiny_rows: list[Row], tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_base)
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tokenizer.chat_template
    )
    dataset = publish_dataset(tmp_path / "d1", tiny_rows)
    for _ in range(2):
        encoded = encode_dataset(dataset, tokenizer, "train", tmp_path / "tokens")
        refused = [row for row in dataset.train_rows() if row.messages and row.messages[0]["role"] == "system"]
        assert [entry.row_id for entry in encoded.refused] == [row.id for row in refused]
        assert "no system" in encoded.refused[0].reason and encoded.refused[0].line == refused[0].line
        assert len(encoded.row_ids) == 61 - len(refused)
