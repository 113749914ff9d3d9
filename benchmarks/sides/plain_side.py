"""A plain PyTorch loop over the very batches of a Stoker run: the practical limit of the same model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from clock import StepClock
from torch.nn import functional

from stoker.data.dataset import Dataset
from stoker.model.batches import collate
from stoker.model.device import autocast, resolve_hardware
from stoker.model.load import load_for_training, pad_token_id
from stoker.model.token_cache import encode_dataset
from stoker.spec.lab import ModelSpec, TrainSpec
from stoker.train.plan import PLAN, load_plan


def run(config: dict[str, Any]) -> dict[str, float]:
    hardware = resolve_hardware(TrainSpec(threads=config["threads"]))
    spec = ModelSpec(base=config["model"], method=config["method"])
    loaded = load_for_training(Path(config["model"]), None, spec, hardware, 0)
    run_folder = Path(config["folder"])
    encoded = encode_dataset(Dataset(Path(config["dataset"])), loaded.tokenizer, "train", run_folder / "tokens")
    plan = load_plan(run_folder / PLAN)
    assert plan is not None
    model = loaded.model
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config["learning_rate"], weight_decay=0.0, fused=True)
    decoder = model.get_base_model().model if config["method"] == "lora" else model.model
    clock = StepClock(config["seconds"])
    pad = pad_token_id(loaded.tokenizer)
    for step in range(plan.total_steps):
        batch = collate([encoded[sequence] for _, sequence in plan.items(step)], pad, hardware.packing, hardware.device)
        with autocast(hardware):
            inputs = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}
            states = decoder(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)[batch["positions"]]
            logits = model.get_output_embeddings()(states)
        loss = functional.cross_entropy(logits.float(), batch["targets"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(int(plan.tokens[step]))
        if clock.is_over:
            break
    return {"tokens_per_second": clock.tokens_per_second, "steps": clock.num_steps, "fill": plan.fill}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    print(json.dumps(run(json.loads(parser.parse_args().config.read_text()))))
