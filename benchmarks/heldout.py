"""Held-out loss of any Hugging Face model folder: mean over answer tokens, one chat at a time, fp32."""

from __future__ import annotations

from pathlib import Path

import orjson
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def heldout_loss(tokenizer_folder: Path, model_folder: Path, chats: Path) -> float:
    """Return the mean NLL per answer token (nats) of a full model or of an adapter folder over the chats."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    if (model_folder / "adapter_config.json").exists():
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(tokenizer_folder, dtype=torch.float32)
        model = PeftModel.from_pretrained(base, model_folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model.eval()
    total, count = 0.0, 0
    for line in chats.read_bytes().splitlines():
        chat = orjson.loads(line)
        prompt = [{"role": "user", "content": chat["prompt"]}]
        whole = [*prompt, {"role": "assistant", "content": chat["answer"]}]
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])
        ids = torch.tensor([tokenizer.apply_chat_template(whole, return_dict=True)["input_ids"]])
        with torch.inference_mode():
            logits = model(ids).logits[0, start - 1 : -1]
        losses = torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="sum")
        total, count = total + float(losses), count + ids.shape[1] - start
    return total / count
