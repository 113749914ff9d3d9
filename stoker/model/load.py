"""Loading models to train or to ask, saving their weights, and folding an adapter into its base.

Only safetensors are read, no code of a model's folder runs, a published folder is verified before it is loaded, and a
tensor that is missing is an error: transformers would fill it with noise. Weights that are trained are fp32; frozen
and asked ones are in the hardware's dtype, so that autocast has nothing to convert.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from stoker.durable import MANIFEST, disk_full_named, publish_folder, sha256_file, verify_folder
from stoker.errors import Damaged, SettingError
from stoker.model.device import Hardware
from stoker.model.tokenizing import encode_prompt
from stoker.spec.jobs import ModelRef
from stoker.spec.lab import ModelSpec

Method = Literal["full", "lora", "qlora"]
FULL_WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
_ONE_FILE = "100000GB"
_MERGE_SAMPLES = ("Hello!", "Name three rivers and say where they end.", "What is 17 * 23? Show the steps: 17 * 20 = ")
_MERGE_DIVERGENCE = {True: 1e-5, False: 2e-2}  # by whether the merged weights are fp32; 16 bits round them


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


def merge(ref: ModelRef, base_folder: Path, output: Path, hardware: Hardware) -> dict[str, Any]:
    """Publish a version as plain weights at `output`, in the base's dtype, and return how far they are from it.

    The published file is loaded again and compared with the adapter's own logits; Damaged when they differ by more
    than rounding, and then nothing is published.
    """
    exact = replace(hardware, dtype=torch.float32, attention="sdpa")  # flash attention takes no fp32
    loaded = load_for_inference(ref, base_folder, exact)
    samples = _sample_prompts(loaded)
    with torch.inference_mode():
        wanted = [loaded.model(sample).logits.float() for sample in samples]
    dtype = _dtype_of(base_folder)
    with publish_folder(output, {"kind": "merged", "version": ref.label}, fault="merge") as staging:
        plain = loaded.model.merge_and_unload(safe_merge=True) if ref.method != "full" else loaded.model
        plain.to(dtype).save_pretrained(staging, max_shard_size=_ONE_FILE)
        loaded.tokenizer.save_pretrained(staging)
        del plain, loaded
        merged = _load_model(staging, torch.float32, exact).eval()
        with torch.inference_mode():
            given = [merged(sample).logits.float() for sample in samples]
        facts = _compare_logits(wanted, given)
        if not facts["divergence"] <= _MERGE_DIVERGENCE[dtype is torch.float32]:
            raise Damaged(output, FULL_WEIGHTS, f"the merged weights answer differently from {ref.label}: {facts}")
    return {**facts, "dtype": str(dtype).removeprefix("torch."), "weights_sha256": sha256_file(output / FULL_WEIGHTS)}


def _sample_prompts(loaded: Loaded) -> list[torch.Tensor]:
    prompts = [encode_prompt([{"role": "user", "content": text}], None, loaded.tokenizer) for text in _MERGE_SAMPLES]
    return [torch.from_numpy(ids).long()[None].to(loaded.hardware.device) for ids in prompts]


def _dtype_of(base_folder: Path) -> torch.dtype:
    dtype = AutoConfig.from_pretrained(base_folder, trust_remote_code=False, local_files_only=True).dtype
    return dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32


def _compare_logits(wanted: list[torch.Tensor], given: list[torch.Tensor]) -> dict[str, Any]:
    """Return the mean Kullback-Leibler divergence (nats) of the merged model from the version, and plainer figures."""
    one, two = (torch.cat([logits.flatten(0, -2) for logits in side]) for side in (wanted, given))
    divergence = functional.kl_div(two.log_softmax(-1), one.log_softmax(-1), reduction="batchmean", log_target=True)
    return {
        "divergence": float(divergence),
        "largest_difference": float((one - two).abs().max()),
        "same_top_token": float((one.argmax(-1) == two.argmax(-1)).float().mean()),
        "num_positions": len(one),
    }


def weights_file(folder: Path) -> Path:
    """Return the file whose hash identifies a version's weights."""
    adapter = folder / ADAPTER_WEIGHTS
    return adapter if adapter.exists() else folder / FULL_WEIGHTS


def to_inference(loaded: Loaded) -> Loaded:
    """Turn a trained model into what loading its saved weights would give, in place. It can't be trained afterwards.

    Parameters alone are cast: buffers such as rotary frequencies stay in fp32, as they do when a model is loaded.
    """
    model = loaded.model
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
        raise Damaged(
            folder, weights.name, f"its SHA-256 is not {ref.label}'s ({found[:12]}, {ref.weights_sha256[:12]})"
        )
