"""Loading models to train or to ask, saving their weights, and folding an adapter into its base.

Only safetensors are read, no code of a model's folder runs, a published folder is verified before it is loaded, and a
tensor that is missing is an error: transformers would fill it with noise. Weights that are trained are fp32; frozen
and asked ones are in the hardware's dtype, so that autocast has nothing to convert.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stoker.durable import MANIFEST, disk_full_named, sha256_file, verify_folder
from stoker.errors import Damaged, SettingError
from stoker.model.device import Hardware
from stoker.spec.jobs import ModelRef
from stoker.spec.lab import ModelSpec

Method = Literal["full", "lora", "qlora"]
FULL_WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
_ONE_FILE = "100000GB"


@dataclass
class Loaded:
    """A model with what belongs to it. `ref` is None for a model in training; `folder` is the base's."""

    model: Any
    tokenizer: Any
    hardware: Hardware
    ref: ModelRef | None
    folder: Path
    method: Method = "full"


def load_for_training(
    base_folder: Path, parent: ModelRef | None, spec: ModelSpec, hardware: Hardware, seed: int
) -> Loaded:
    """Load the parent (None: the base) with the weights trainable that `spec.method` trains.

    `spec.method` is definite (see spec/resolve). SettingError when it does not fit the parent or the hardware.
    """
    assert spec.method != "auto"
    _require_same_method(parent, spec)
    if spec.method == "full":
        source = parent.folder if parent and parent.folder else base_folder
        if parent is not None:
            _verify(parent)
        model = _load_model(source, torch.float32, hardware)
    else:
        from stoker.model.adapters import add_adapter, load_adapter

        base = _load_frozen(base_folder, spec, hardware)
        if parent is not None and parent.folder is not None:
            _verify(parent)
            model = load_adapter(base, parent.folder, spec)
        else:
            model = add_adapter(base, spec, seed)
    model.train()
    return Loaded(model, load_tokenizer(base_folder), hardware, None, base_folder, spec.method)


def load_for_inference(ref: ModelRef, base_folder: Path, hardware: Hardware) -> Loaded:
    """Load a version or the base to ask it; its weights are in the hardware's dtype."""
    if ref.folder is None:
        model = _load_model(base_folder, hardware.dtype, hardware)
    else:
        _verify(ref)
        if ref.method == "full":
            model = _load_model(ref.folder, hardware.dtype, hardware)
        else:
            from stoker.model.adapters import load_adapter

            model = load_adapter(_load_model(base_folder, hardware.dtype, hardware), ref.folder, None)
    model.eval().requires_grad_(False)
    return Loaded(model, load_tokenizer(base_folder), hardware, ref, base_folder, ref.method)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def pad_token_id(tokenizer: Any) -> int:
    """Return the token that fills batches; any will do, since nothing attends to it."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def save_weights(loaded: Loaded, folder: Path, method: Method) -> str:
    """Write weights, config and tokenizer into `folder` and return the weights file's SHA-256."""
    with disk_full_named(folder):
        if method == "full":
            loaded.model.save_pretrained(folder, max_shard_size=_ONE_FILE)
        else:
            loaded.model.save_pretrained(folder, save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)
        loaded.tokenizer.save_pretrained(folder)
    return sha256_file(weights_file(folder))


def weights_file(folder: Path) -> Path:
    """Return the file whose hash identifies a version's weights."""
    adapter = folder / ADAPTER_WEIGHTS
    return adapter if adapter.exists() else folder / FULL_WEIGHTS


def to_inference(loaded: Loaded) -> Loaded:
    """Turn a trained model into what loading its saved weights would give, in place. It can't be trained afterwards.

    Parameters alone are cast: buffers such as rotary frequencies stay in fp32, as they do when a model is loaded.
    """
    model = loaded.model
    if getattr(model, "is_gradient_checkpointing", False):
        model.gradient_checkpointing_disable()
    model.eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = None
        parameter.data = parameter.data.to(loaded.hardware.dtype)
    return loaded


def _require_same_method(parent: ModelRef | None, spec: ModelSpec) -> None:
    if parent is not None and parent.folder is not None and parent.method != spec.method:
        raise SettingError(
            f"model.method = {spec.method!r}, but {parent.label} was trained with {parent.method!r}",
            "a line of versions keeps its method: the optimizer's moments belong to the trained weights",
            f"set model.method = {parent.method!r}, or start a new line with another model.name",
        )


def _load_frozen(folder: Path, spec: ModelSpec, hardware: Hardware) -> Any:
    if spec.method == "qlora":
        require_qlora(hardware)
        from stoker.model.adapters import four_bit

        return _load_model(folder, hardware.dtype, hardware, quantization_config=four_bit(hardware))
    return _load_model(folder, hardware.dtype, hardware).requires_grad_(False)


def require_qlora(hardware: Hardware) -> None:
    """Raise SettingError unless 4-bit training is possible here."""
    if not hardware.is_cuda:
        raise SettingError(
            'model.method = "qlora" is not possible here',
            "4-bit weights need a CUDA GPU, and this machine shows none",
            'set model.method = "lora"',
        )
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise SettingError(
            'model.method = "qlora" needs the bitsandbytes package',
            f"it holds the 4-bit kernels ({error})",
            "run: pip install 'stoker[qlora]'",
        ) from error


def _load_model(folder: Path, dtype: torch.dtype, hardware: Hardware, **options: Any) -> Any:
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation=hardware.attention,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **options,
    )
    for kind in ("missing_keys", "mismatched_keys"):
        if info.get(kind):
            name = sorted(map(str, info[kind]))[0]
            raise Damaged(folder, FULL_WEIGHTS, f"{kind.removesuffix('_keys')} tensor {name}")
    return model if options else model.to(hardware.device)


def _verify(ref: ModelRef) -> None:
    """Check a version's folder against its manifest, and its weights against the reference."""
    folder = ref.folder
    if folder is None:
        return
    weights = weights_file(folder)
    if (folder / MANIFEST).exists():
        manifest = verify_folder(folder)
        found = manifest["files"].get(weights.name, {}).get("sha256", "")
    else:
        found = sha256_file(weights) if weights.exists() else ""
    if found != ref.weights_sha256:
        raise Damaged(folder, weights.name, f"its SHA-256 is not {ref.label}'s ({found[:12]}, {ref.weights_sha256[:12]})")
