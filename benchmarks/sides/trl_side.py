"""TRL's SFTTrainer: with its defaults ("trl"), or with checkpointing off and grouped by length ("trl-tuned").

bf16, its default, is off where the hardware has none: emulated, it makes a step some ten times as slow.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import orjson
import torch
from clock import StepClock
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from stoker.model.device import resolve_hardware
from stoker.spec.lab import TrainSpec


class Stopwatch(TrainerCallback):
    def __init__(self, clock: StepClock) -> None:
        self.clock = clock
        self.pending_tokens = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.step(self.pending_tokens)
        self.pending_tokens = 0
        if self.clock.is_over:
            control.should_training_stop = True


def run(config: dict[str, Any]) -> dict[str, float]:
    torch.set_num_threads(config["threads"])
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(config["model"])
    model = AutoModelForCausalLM.from_pretrained(config["model"])
    rows = [orjson.loads(line) for line in Path(config["train"]).read_bytes().splitlines()]
    keys = ("prompt", "answer")
    data = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row[keys[0]]}],
                "completion": [{"role": "assistant", "content": row[keys[1]]}],
            }
            for row in rows
        ]
    )
    is_tuned = config["side"] == "trl-tuned"
    tuned: dict[str, Any] = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
    clock = StepClock(config["seconds"])
    with tempfile.TemporaryDirectory() as folder:
        args = SFTConfig(
            output_dir=folder,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            num_train_epochs=config["epochs"],
            learning_rate=config["learning_rate"],
            lr_scheduler_type="constant",
            bf16=resolve_hardware(TrainSpec(threads=config["threads"])).precision == "bf16",
            **(tuned if is_tuned else {}),
        )
        stopwatch = Stopwatch(clock)
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[stopwatch],
            peft_config=lora() if config["method"] == "lora" else None,
        )
        inner = trainer.compute_loss

        def counted(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            stopwatch.pending_tokens += int(inputs["attention_mask"].sum())
            return inner(model, inputs, *rest, **named)

        trainer.compute_loss = counted
        trainer.train()
        if config.get("output"):
            trained = trainer.model.merge_and_unload() if config["method"] == "lora" else trainer.model
            trained.save_pretrained(config["output"])
    return {"tokens_per_second": clock.tokens_per_second, "steps": clock.num_steps}


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    print(json.dumps(run(json.loads(parser.parse_args().config.read_text()))))
