"""Answers a second: evaluation's own generation beside Hugging Face's `generate`, one prompt at a time and in batches of 16.

    python benchmarks/generation.py [--sizes 5m,30m] [--items 300] [--rounds 3] [--threads 1] [--models FOLDER]

The items are SYLLO's frozen benchmarks. The models are trained on SYLLO puzzles just long enough to end their answers
(kept in FOLDER for the next time). All sides get the same tokens and weights in bf16 and answer greedily; a token counts
up to and with the stop token. A core-second is a second of wall time of one of the threads given.

Batches differ from single prompts in the last bits of bf16, so an answer may turn at a near tie: how often is
shown for Hugging Face's own batches too, and in fp32 all answers must be the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import spread, table, write_section
from models import make_model
from transformers import AutoModelForCausalLM

from stoker.data.benchmarks import read_benchmark
from stoker.data.rows import Row
from stoker.model.batches import collate
from stoker.model.device import Hardware, resolve_hardware
from stoker.model.generation import generate
from stoker.model.load import Loaded, load_for_inference, load_for_training, load_tokenizer, pad_token_id, save_weights
from stoker.model.tokenizing import encode_row_prompt, encode_rows, stop_token_ids
from stoker.spec.jobs import BaseRef, ModelRef
from stoker.spec.lab import EvaluateSpec, ModelSpec, TrainSpec
from stoker.tasks.syllo.install import write_benchmarks, write_training_file

BENCHMARKS = ("syllo-easy", "syllo-medium", "syllo-hard")
WANTED = {"one by one": 2.5, "batches of 16": 1.2}
_BATCH_ROWS = 8
Answers = list[list[int]]
Side = Callable[[Sequence[np.ndarray]], Answers]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="5m,30m")
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "stoker-generation-models")
    parser.add_argument("--dry-run", action="store_true", help="print only, leave RESULTS.md as it is")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows, notes = [], []
    for size in args.sizes.split(","):
        measured = _measure(_prepared(args.models, size, args.steps), args)
        rows += measured.rows(size, args.threads)
        notes.append(measured.note(size))
    header = ("model", "side", "useful tokens per core-second", "seconds", "Stoker is faster by", "wanted")
    body = table(header, rows) + "\n\n" + "\n".join(notes)
    if args.dry_run:
        print(body)
    else:
        command = (
            f"python benchmarks/generation.py --items {args.items} --rounds {args.rounds} --threads {args.threads}"
        )
        write_section("Generation in evaluations", command, body)


@dataclass
class Measured:
    """Seconds of each side by round, its answers, and those to every `stride`-th prompt in fp32."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, Answers] = field(default_factory=dict)
    exact: dict[str, Answers] = field(default_factory=dict)
    stride: int = 1

    def rows(self, size: str, threads: int) -> list[list[str]]:
        def rate(side: str) -> list[float]:
            tokens = sum(map(len, self.answers[side]))
            return [tokens / (seconds * threads) for seconds in self.seconds[side]]

        ours = statistics.median(rate("Stoker"))
        return [
            [
                size, side, spread(rate(side)), spread(seconds, 1),
                f"{ours / statistics.median(rate(side)):.2f}" if side in WANTED else "",
                f"{WANTED[side]:g}" if side in WANTED else "",
            ]
            for side, seconds in self.seconds.items()
        ]  # fmt: skip

    def note(self, size: str) -> str:
        single = self.answers["one by one"]
        same = {
            side: sum(a == b for a, b in zip(single, self.answers[side], strict=True)) for side in self.answers
        }  # fmt: skip
        exact = self.exact["one by one"]
        places = range(0, len(single), self.stride)
        near = {
            side: sum(self.answers[side][i] == a for i, a in zip(places, exact, strict=True)) for side in self.answers
        }
        equal = sum(a == b for a, b in zip(exact, self.exact["Stoker"], strict=True))
        return (
            f"{size}: in fp32 {equal} of {len(exact)} answers are the same. Of {len(single)} in bf16, {same['Stoker']} of Stoker's "
            f"and {same['batches of 16']} of Hugging Face's batches are those of one prompt at a time; those of fp32 are met "
            f"by {near['Stoker']}, {near['batches of 16']} and {near['one by one']} of {len(exact)}."
        )


def _measure(folder: Path, args: argparse.Namespace) -> Measured:
    loaded, items = _load(folder, torch.bfloat16, args.threads), _items(args.items)
    prompts = [encode_row_prompt(row, loaded.tokenizer) for row in items]
    longest = max(int(each[0].trained.sum()) for each in encode_rows(items, loaded.tokenizer)) + 16
    found = Measured()
    sides = _sides(loaded, folder, longest)
    for side in sides.values():
        side(prompts[:16])
    for _ in range(args.rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            found.answers[name] = side(prompts)
            found.seconds.setdefault(name, []).append(time.perf_counter() - started)
    exact = _sides(_load(folder, torch.float32, args.threads), folder, longest)
    found.stride = max(1, len(prompts) // 60)
    few = prompts[:: found.stride]
    found.exact = {name: exact[name](few) for name in ("one by one", "Stoker")}
    return found


def _sides(loaded: Loaded, folder: Path, longest: int) -> dict[str, Side]:
    """Return the three ways to answer; Hugging Face's model is loaded as its users load it."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=loaded.hardware.dtype).eval()
    stops, pad = stop_token_ids(loaded.tokenizer), pad_token_id(loaded.tokenizer)

    def plain(prompts: Sequence[np.ndarray], size: int) -> Answers:
        answers: Answers = []
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            width = max(map(len, batch))
            ids = torch.tensor([[pad] * (width - len(prompt)) + prompt.tolist() for prompt in batch])
            mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
            made = model.generate(
                input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=longest, eos_token_id=stops,
                pad_token_id=pad,
            )  # fmt: skip
            answers += [_useful(row[width:].tolist(), stops) for row in made]
        return answers

    def ours(prompts: Sequence[np.ndarray]) -> Answers:
        made = generate(loaded, list(prompts), longest, EvaluateSpec().batch_size)
        return [answer.token_ids.tolist() for answer in made]

    return {"one by one": lambda prompts: plain(prompts, 1), "batches of 16": lambda prompts: plain(prompts, 16),
            "Stoker": ours}  # fmt: skip


def _useful(tokens: list[int], stops: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens) - 1)
    return tokens[: end + 1]


def _items(num: int) -> list[Row]:
    """Return items of every level in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        write_benchmarks(Path(scratch))
        levels = [[item.row for item in read_benchmark(Path(scratch) / f"{name}.jsonl").items] for name in BENCHMARKS]
    return [row for rows in zip(*levels, strict=True) for row in rows][:num]


def _load(folder: Path, dtype: torch.dtype, threads: int) -> Loaded:
    hardware = Hardware(torch.device("cpu"), dtype, threads, "eager", False)
    ref = ModelRef(label=folder.name, base=BaseRef(name=str(folder), folder=folder), weights_sha256=folder.name)
    return load_for_inference(ref, folder, hardware)


def _prepared(folder: Path, size: str, num_steps: int) -> Path:
    """Return a model that was trained for so many steps on puzzles of all levels, made once."""
    found = folder / f"{size}-{num_steps}"
    if (found / "trained").is_file():
        return found
    make_model(found, size)
    file = folder / "puzzles.jsonl"
    write_training_file(file, num_steps * _BATCH_ROWS, seed=5, level="mixed")
    rows = [item.row for item in read_benchmark(file).items]
    hardware = resolve_hardware(TrainSpec(precision="fp32"))
    loaded = load_for_training(found, None, ModelSpec(method="full"), hardware, 0)
    _train(loaded.model, [sequences[0] for sequences in encode_rows(rows, load_tokenizer(found))], loaded)
    save_weights(loaded, found, "full")
    (found / "trained").touch()
    return found


def _train(model: Any, encoded: list[Any], loaded: Loaded) -> None:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(loaded.hardware.threads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    starts = range(0, len(encoded), _BATCH_ROWS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=len(starts))
    for start in starts:
        batch = collate(encoded[start : start + _BATCH_ROWS], pad_token_id(loaded.tokenizer), packing=False)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(
                input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"), labels=batch["labels"]
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if start % (50 * _BATCH_ROWS) == 0:
            print(f"step {start // _BATCH_ROWS} of {len(starts)}: loss {float(loss.detach()):.3f}", flush=True)
    torch.set_num_threads(num_threads)


if __name__ == "__main__":
    main()
