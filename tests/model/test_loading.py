from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stoker.data.rows import Row
from stoker.durable import publish_folder
from stoker.errors import Damaged, SettingError
from stoker.model.batches import collate
from stoker.model.device import Hardware
from stoker.model.generation import generate
from stoker.model.likelihood import mean_nll
from stoker.model.load import (
    Loaded,
    load_for_inference,
    load_for_training,
    load_tokenizer,
    merge,
    save_weights,
    weights_file,
)
from stoker.model.loss import supervised_loss
from stoker.model.resident import Resident
from stoker.model.tokenizing import encode_row_prompt, encode_rows
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import ModelSpec

FULL = ModelSpec(method="full")
LORA = ModelSpec(method="lora", lora_rank=4, lora_alpha=8.0)
BASE = BaseRef(name="tiny")


def train_a_little(loaded: Loaded, rows: list[Row]) -> None:
    sequences = [sequence for row in encode_rows(rows, loaded.tokenizer) for sequence in row]
    trained = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(3):
        batch = collate(sequences, 0, packing=False)
        supervised_loss(loaded.model, batch, len(batch["targets"]), loaded.hardware).backward()
        optimizer.step()
        optimizer.zero_grad()


def publish(loaded: Loaded, folder: Path) -> ModelRef:
    with publish_folder(folder) as staging:
        sha256 = save_weights(loaded, staging, loaded.method)
    return ModelRef(label="main/v1", base=BASE, folder=folder, method=loaded.method, weights_sha256=sha256)


def trained_version(
    spec: ModelSpec, base: Path, hardware: Hardware, rows: list[Row], folder: Path
) -> tuple[Loaded, ModelRef]:
    loaded = load_for_training(base, None, spec, hardware, seed=0)
    train_a_little(loaded, rows[:8])
    return loaded, publish(loaded, folder)


def scores(loaded: Loaded, rows: list[Row]) -> Any:
    return mean_nll(loaded, [sequence for row in encode_rows(rows[:8], loaded.tokenizer) for sequence in row])


@pytest.mark.parametrize("spec", [FULL, LORA], ids=["full", "lora"])
def test_a_version_goes_on_from_its_parents_weights(
    spec: ModelSpec, tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], tmp_path: Path
) -> None:
    first, ref = trained_version(spec, tiny_base, fp32, tiny_rows, tmp_path / "v1")
    second = load_for_training(tiny_base, ref, spec, fp32, seed=9)
    names = [name for name, parameter in first.model.named_parameters() if parameter.requires_grad]
    assert names == [name for name, parameter in second.model.named_parameters() if parameter.requires_grad]
    there = dict(second.model.named_parameters())
    for name, parameter in first.model.named_parameters():
        assert torch.equal(parameter, there[name]), name
        assert not parameter.requires_grad or parameter.dtype is torch.float32
    assert {path.suffix for path in (tmp_path / "v1").iterdir()} <= {".safetensors", ".json", ".jinja"}


def test_lora_trains_a_small_part_and_starts_as_the_base(
    tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], load_base: Any
) -> None:
    loaded = load_for_training(tiny_base, None, LORA, fp32, seed=0)
    trained = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)
    assert 0 < trained < 0.1 * sum(p.numel() for p in loaded.model.parameters())
    assert np.allclose(scores(loaded, tiny_rows), scores(load_base(fp32), tiny_rows))
    again = load_for_training(tiny_base, None, LORA, fp32, seed=0)
    other = load_for_training(tiny_base, None, LORA, fp32, seed=1)
    weights = [
        torch.cat([p.detach().flatten() for p in one.model.parameters() if p.requires_grad])
        for one in (loaded, again, other)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_lora_keeps_its_frozen_base_in_the_hardwares_dtype(tiny_base: Path, bf16: Hardware) -> None:
    loaded = load_for_training(tiny_base, None, LORA, bf16, seed=0)
    assert {p.dtype for p in loaded.model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in loaded.model.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_lora_targets_and_dropout_are_what_the_settings_say(tiny_base: Path, fp32: Hardware) -> None:
    spec = ModelSpec(method="lora", lora_targets=("q_proj", "v_proj"), lora_dropout=0.25, lora_rank=2)
    model = load_for_training(tiny_base, None, spec, fp32, seed=0).model
    assert {n.split(".lora_")[0].rsplit(".", 1)[1] for n, p in model.named_parameters() if p.requires_grad} == {
        "q_proj",
        "v_proj",
    }
    assert {m.p for n, m in model.named_modules() if n.endswith("lora_dropout.default")} == {0.25}


def test_an_unknown_lora_target_names_the_modules_there_are(tiny_base: Path, fp32: Hardware) -> None:
    spec = ModelSpec(method="lora", lora_targets=("q_proj", "query"))
    with pytest.raises(
        SettingError, match=r"names query; .*down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    ):
        load_for_training(tiny_base, None, spec, fp32, seed=0)


def test_another_method_or_shape_than_the_parents_is_refused(
    tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], tmp_path: Path
) -> None:
    _, ref = trained_version(LORA, tiny_base, fp32, tiny_rows, tmp_path / "v1")
    with pytest.raises(SettingError, match="main/v1 was trained with 'lora'"):
        load_for_training(tiny_base, ref, FULL, fp32, seed=0)
    with pytest.raises(SettingError, match="lora_rank = 16, but the version to continue has 4"):
        load_for_training(tiny_base, ref, ModelSpec(method="lora", lora_alpha=8.0), fp32, seed=0)
    with pytest.raises(SettingError, match="lora_targets"):
        load_for_training(tiny_base, ref, LORA.model_copy(update={"lora_targets": ("q_proj",)}), fp32, seed=0)


def test_qlora_without_a_gpu_is_refused_with_a_remedy(tiny_base: Path, fp32: Hardware) -> None:
    with pytest.raises(SettingError, match=r'needs? a CUDA GPU.*set model.method = "lora"'):
        load_for_training(tiny_base, None, ModelSpec(method="qlora"), fp32, seed=0)


@pytest.mark.parametrize("spec", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_kept_model_gives_exactly_what_a_loaded_one_gives(
    spec: ModelSpec, precision: str, tiny_base: Path, tiny_rows: list[Row], tmp_path: Path, request: Any
) -> None:
    hardware = request.getfixturevalue(precision)
    trained, ref = trained_version(spec, tiny_base, hardware, tiny_rows, tmp_path / "v1")
    resident = Resident()
    resident.put(trained, ref.weights_sha256)
    kept, fresh = resident.get(ref, tiny_base, hardware), load_for_inference(ref, tiny_base, hardware)
    assert kept is trained
    assert np.array_equal(scores(kept, tiny_rows), scores(fresh, tiny_rows))
    prompts = [encode_row_prompt(row, fresh.tokenizer) for row in tiny_rows[:3]]
    for one, other in zip(generate(kept, prompts, 8, 3), generate(fresh, prompts, 8, 3), strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()


def test_models_stay_while_memory_allows(tiny_base: Path, fp32: Hardware) -> None:
    refs = [ModelRef(label=name, base=BASE, weights_sha256=name) for name in ("a", "b")]
    roomy, narrow = Resident(), Resident(limit_bytes=5_000_000)
    for resident in (roomy, narrow):
        first = resident.get(refs[0], tiny_base, fp32)
        resident.get(refs[1], tiny_base, fp32)
        assert (resident.get(refs[0], tiny_base, fp32) is first) == (resident is roomy)
    assert (len(roomy), len(narrow)) == (2, 1)
    roomy.clear()
    assert len(roomy) == 0


@pytest.mark.parametrize("spec", [FULL, LORA], ids=["full", "lora"])
def test_a_damaged_version_is_not_loaded(
    spec: ModelSpec, tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], tmp_path: Path
) -> None:
    _, ref = trained_version(spec, tiny_base, fp32, tiny_rows, tmp_path / "v1")
    weights = weights_file(tmp_path / "v1")
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Damaged, match="SHA-256"):
        load_for_inference(ref, tiny_base, fp32)
    with pytest.raises(Damaged, match="SHA-256"):
        load_for_training(tiny_base, ref, spec, fp32, seed=0)


@pytest.mark.parametrize("spec", [FULL, LORA], ids=["full", "lora"])
def test_a_missing_tensor_is_not_filled_with_noise(
    spec: ModelSpec, tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], tmp_path: Path
) -> None:
    loaded = load_for_training(tiny_base, None, spec, fp32, seed=0)
    with publish_folder(tmp_path / "v1") as staging:
        save_weights(loaded, staging, loaded.method)
        path = weights_file(staging)
        tensors = load_file(path)
        tensors.pop(sorted(tensors)[3])
        save_file(tensors, path, metadata={"format": "pt"})
    ref = publish_ref(tmp_path / "v1", loaded)
    with pytest.raises(Damaged, match="missing tensor"):
        load_for_inference(ref, tiny_base, fp32)


def publish_ref(folder: Path, loaded: Loaded) -> ModelRef:
    from stoker.durable import sha256_file

    sha256 = sha256_file(weights_file(folder))
    return ModelRef(label="main/v1", base=BASE, folder=folder, method=loaded.method, weights_sha256=sha256)


def test_weights_of_another_version_are_not_taken(
    tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], tmp_path: Path
) -> None:
    _, ref = trained_version(FULL, tiny_base, fp32, tiny_rows, tmp_path / "v1")
    with pytest.raises(Damaged, match="is not main/v1's"):
        load_for_inference(ref.model_copy(update={"weights_sha256": "0" * 64}), tiny_base, fp32)


def test_merged_weights_answer_as_the_adapter_does(
    tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], tmp_path: Path
) -> None:
    _, ref = trained_version(LORA, tiny_base, fp32, tiny_rows, tmp_path / "v1")
    facts = merge(ref, tiny_base, tmp_path / "merged", fp32)
    assert facts["divergence"] < 1e-5 and facts["same_top_token"] == 1.0 and facts["dtype"] == "float32"
    plain = ModelRef(
        label="merged", base=BASE, folder=tmp_path / "merged", method="full", weights_sha256=facts["weights_sha256"]
    )
    merged, adapter = (load_for_inference(r, tiny_base, fp32) for r in (plain, ref))
    assert np.allclose(scores(merged, tiny_rows), scores(adapter, tiny_rows), rtol=1e-4)
    assert load_tokenizer(tmp_path / "merged").chat_template == merged.tokenizer.chat_template


def test_merged_weights_that_answer_differently_are_not_published(
    tiny_base: Path, fp32: Hardware, tiny_rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    _, ref = trained_version(LORA, tiny_base, fp32, tiny_rows, tmp_path / "v1")
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self, safe_merge: self.unload(), raising=False)
    with pytest.raises(Damaged, match="the merged weights answer differently from main/v1"):
        merge(ref, tiny_base, tmp_path / "merged", fp32)
    assert not (tmp_path / "merged").exists()
