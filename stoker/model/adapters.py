"""LoRA adapters: adding one to a frozen base, loading a version's, and the 4-bit base of QLoRA.

Importing peft takes seconds, so only runs that use adapters import this module.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn

from stoker.errors import Damaged, SettingError
from stoker.model.device import Hardware
from stoker.spec.lab import ModelSpec

_WEIGHTS = "adapter_model.safetensors"
ALL_LINEAR = "all-linear"


def add_adapter(base: Any, spec: ModelSpec, seed: int) -> Any:
    """Put a new adapter on a frozen base; its first weights depend on the seed alone and change no output."""
    config = LoraConfig(
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=_targets(base, spec),
        task_type="CAUSAL_LM",
    )
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return get_peft_model(_prepared(base), config)


def load_adapter(base: Any, folder: Path, spec: ModelSpec | None) -> Any:
    """Load a version's adapter onto the base: trainable with `spec`, which must fit it; frozen without."""
    if not (folder / _WEIGHTS).is_file():
        raise Damaged(folder, _WEIGHTS, "missing")
    config = LoraConfig.from_pretrained(str(folder))
    if spec is not None:
        _require_same_shape(config, base, spec)
        config.lora_dropout = spec.lora_dropout
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error below
        model = PeftModel.from_pretrained(
            _prepared(base) if spec else base,
            str(folder),
            is_trainable=spec is not None,
            config=config,
            autocast_adapter_dtype=spec is not None,
        )
    _require_every_tensor(model, folder)
    return model


def four_bit(hardware: Hardware) -> Any:
    """Return how QLoRA stores its frozen base: nf4 with double quantisation (QLoRA, Dettmers et al. 2023)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=hardware.dtype,
    )


def _prepared(base: Any) -> Any:
    if not getattr(base, "is_loaded_in_4bit", False):
        return base
    from peft import prepare_model_for_kbit_training

    return prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)


def _targets(base: Any, spec: ModelSpec) -> str | list[str]:
    """Return the modules that get matrices; SettingError names what the model has when a name is not there."""
    if spec.lora_targets == ALL_LINEAR:
        return ALL_LINEAR
    wanted = [spec.lora_targets] if isinstance(spec.lora_targets, str) else list(spec.lora_targets)
    head = base.get_output_embeddings()
    there = {
        name.rsplit(".", 1)[-1]
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        raise SettingError(
            f"model.lora_targets names {', '.join(unknown) or 'nothing'}",
            f"the base's linear modules are: {', '.join(sorted(there))}",
            'set model.lora_targets to some of them, or to "all-linear"',
        )
    return wanted


def _require_same_shape(config: Any, base: Any, spec: ModelSpec) -> None:
    """Refuse to go on with an adapter of another shape: its moments and its meaning would not carry over."""
    same = {"lora_rank": (spec.lora_rank, config.r), "lora_alpha": (spec.lora_alpha, config.lora_alpha)}
    for key, (wanted, there) in same.items():
        if wanted != there:
            raise _shape_error(key, wanted, there)
    targets = _targets(base, spec)
    if targets != ALL_LINEAR and set(targets) != set(config.target_modules):
        raise _shape_error("lora_targets", sorted(targets), sorted(config.target_modules))


def _shape_error(key: str, wanted: object, there: object) -> SettingError:
    return SettingError(
        f"model.{key} = {wanted}, but the version to continue has {there}",
        "a line of versions keeps the shape of its adapter",
        f"set model.{key} = {there}, or start a new line with another model.name",
    )


def _require_every_tensor(model: Any, folder: Path) -> None:
    """peft only warns about tensors that are not in the file, and leaves them as they were made."""
    with safe_open(folder / _WEIGHTS, framework="pt") as file:
        there = set(file.keys())
    missing = sorted(set(get_peft_model_state_dict(model, save_embedding_layers=False)) - there)
    if missing:
        raise Damaged(folder, _WEIGHTS, f"missing tensor {missing[0]}")
