"""A line that goes on: five SYLLO files, each with 30 words of its own, trained one after the other.

Compared at the end, on unseen puzzles of all five groups: everything at once; Stoker's line with its default replay and
with a long one; and what peers do (the last weights, a fresh optimizer, a linear schedule per file, no replay). All use
Stoker's trainer, the same tiny base, the same rows and the same number of epochs.

    python benchmarks/line.py [--puzzles 1600] [--epochs 3] [--seeds 1]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np
import orjson
from training import intake

from stoker.data.dataset import Dataset
from stoker.data.rows import Row
from stoker.durable import read_manifest
from stoker.errors import WorkerExit
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES, Outbox
from stoker.model.base import ensure_base
from stoker.model.device import resolve_hardware
from stoker.model.generation import generate
from stoker.model.likelihood import mean_nll
from stoker.model.load import load_for_inference
from stoker.model.resident import Resident
from stoker.model.tokenizing import encode_prompt, encode_row
from stoker.spec.jobs import BaseRef, DatasetRef, ModelRef, TrainJob
from stoker.spec.lab import ModelSpec, RetentionSpec, TrainSpec
from stoker.tasks.syllo.generate import Puzzle, generate_puzzles
from stoker.tasks.syllo.score import score_answer
from stoker.tasks.syllo.words import training_words
from stoker.train.run import run_training

NUM_FILES, WORDS_EACH, UNSEEN_EACH, JOIN_STEPS = 5, 30, 60, 8


@dataclass(frozen=True)
class Recipe:
    name: str
    is_joint: bool = False
    replay: float = 0.0
    is_peer: bool = False


RECIPES = (
    Recipe("everything at once", is_joint=True),
    Recipe("Stoker, replay 0.5 (default)", replay=0.5),
    Recipe("Stoker, replay 2", replay=2.0),
    Recipe("peers: fresh optimizer, linear, no replay", is_peer=True),
)


def main() -> None:
    args = _arguments()
    results: dict[str, list[dict[str, Any]]] = {recipe.name: [] for recipe in RECIPES}
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            line = Line(Path(folder), args, seed)
            for recipe in RECIPES:
                results[recipe.name].append(line.measure(recipe))
                print(recipe.name, results[recipe.name][-1], file=sys.stderr)
    body = _table(results) + "\n\n" + _note(args)
    harness.write_section("A line of five files", " ".join(["python benchmarks/line.py", *sys.argv[1:]]), body)


class Line:
    def __init__(self, folder: Path, args: argparse.Namespace, seed: int) -> None:
        self.folder, self.args, self.seed = folder, args, seed
        self.resident = Resident()
        self.datasets: list[DatasetRef] = []
        self.unseen: list[list[Puzzle]] = []
        words = [word for word in training_words() if len(word.tiles) == 2]
        order = np.random.default_rng(seed).permutation(len(words))
        for number in range(NUM_FILES):
            group = [words[i] for i in order[number * WORDS_EACH : (number + 1) * WORDS_EACH]]
            puzzles = list(generate_puzzles(args.puzzles + UNSEEN_EACH, seed, "easy", group))
            self.unseen.append(puzzles[args.puzzles :])
            self.datasets.append(self._dataset(number, puzzles[: args.puzzles]))
        rows = [row for ref in self.datasets for row in Dataset(ref.folder).train_rows()]
        self.base = BaseRef(name="tiny", folder=folder / "tiny")
        ensure_base(self.base, folder / "tiny", rows, seed)

    def measure(self, recipe: Recipe) -> dict[str, Any]:
        """Train the five files by the recipe and score every group at the end and after its own file."""
        versions: list[ModelRef] = []
        jumps, own_scores = [], []
        parts = [self.datasets] if recipe.is_joint else [[dataset] for dataset in self.datasets]
        last_losses: list[float] = []
        for number, new in enumerate(parts):
            ref, losses = self._train(recipe, number, new, versions[-1] if versions else None)
            if last_losses:
                jumps.append(statistics.mean(losses[:JOIN_STEPS]) - statistics.mean(last_losses[-JOIN_STEPS:]))
            last_losses = losses
            versions.append(ref)
            if not recipe.is_joint:
                own_scores.append(self._scores(ref, [number])[0])
        final = self._scores(versions[-1], list(range(NUM_FILES)))
        nlls = [score["nll"] for score in final]
        kept = [
            end["words"] / own["words"] for end, own in zip(final[:-1], own_scores[:-1], strict=False) if own["words"]
        ]
        return {
            "nll": statistics.mean(nlls), "newest": nlls[-1], "words": statistics.mean(s["words"] for s in final),
            "kept": min(kept) if kept else float("nan"), "jump": statistics.mean(jumps) if jumps else float("nan"),
        }  # fmt: skip

    def _train(
        self, recipe: Recipe, number: int, new: list[DatasetRef], parent: ModelRef | None
    ) -> tuple[ModelRef, list[float]]:
        folder = self.folder / recipe.name.replace(" ", "-").replace(":", "") / str(number)
        folder.mkdir(parents=True)
        spec = TrainSpec(epochs=self.args.epochs, replay=recipe.replay, seed=self.seed, checkpoint_seconds=1e6)
        base = self.base
        if recipe.is_peer:
            spec = spec.model_copy(update={"decay_fraction": 1 - spec.warmup_fraction, "learning_rate": self.args.rate})
            if parent is not None:
                assert parent.folder is not None
                base, parent = BaseRef(name=str(parent.folder), folder=parent.folder), None
        elif self.args.rate:
            spec = spec.model_copy(update={"learning_rate": self.args.rate})
        job = TrainJob(
            run=f"r{number + 1}", fence=1, base=base, base_folder=self.folder / "tiny", parent=parent,
            new=tuple(new), replay=tuple(self.datasets[:number]) if recipe.replay else (),
            output=folder / "version", model_name="line", version=number + 1,
            model=ModelSpec(base="tiny", method="full"), train=spec, retention=RetentionSpec(),
            tokens=self.folder / "tokens",
        )  # fmt: skip
        assert run_training(job, folder, Outbox(folder), self.resident) is WorkerExit.DONE
        losses = [r["loss"] for r in JournalReader(folder / MESSAGES).read(1 << 30) if r["kind"] == "step"]
        sha256 = read_manifest(job.output)["weights_sha256"]
        return ModelRef(label=f"line/v{number + 1}", base=self.base, folder=job.output, weights_sha256=sha256), losses

    def _scores(self, ref: ModelRef, groups: list[int]) -> list[dict[str, float]]:
        hardware = resolve_hardware(TrainSpec())
        loaded = load_for_inference(ref, self.folder / "tiny", hardware)
        scores = []
        for group in groups:
            rows = [_row(puzzle) for puzzle in self.unseen[group]]
            nll = float(np.mean(mean_nll(loaded, [encode_row(row, loaded.tokenizer)[0] for row in rows])))
            prompts = [encode_prompt(list(row.prompt_messages()), None, loaded.tokenizer) for row in rows]
            answers = generate(loaded, prompts, 80, 64)
            words = [
                score_answer(puzzle.to_item_json()["meta"], answer.text)["words"]
                for puzzle, answer in zip(self.unseen[group], answers, strict=True)
            ]
            scores.append({"nll": nll, "words": statistics.mean(words)})
        return scores

    def _dataset(self, number: int, puzzles: list[Puzzle]) -> DatasetRef:
        folder = self.folder / f"file-{number}"
        folder.mkdir()
        path = folder / f"file-{number}.jsonl"
        path.write_bytes(b"".join(orjson.dumps(puzzle.to_row_json()) + b"\n" for puzzle in puzzles))
        return DatasetRef(id=f"d{number + 1}", folder=intake(path, folder), name=path.name)


def _row(puzzle: Puzzle) -> Row:
    messages = ({"role": "user", "content": puzzle.prompt}, {"role": "assistant", "content": puzzle.answer})
    return Row.from_content(1, messages)


def _table(results: dict[str, list[dict[str, Any]]]) -> str:
    at_once = [result["nll"] for result in results[RECIPES[0].name]]
    rows = []
    for recipe in RECIPES:
        runs = results[recipe.name]
        ratio = statistics.median(run["nll"] / joint for run, joint in zip(runs, at_once, strict=True))

        def column(key: str, digits: int, runs: list[dict[str, Any]] = runs) -> str:
            values = [run[key] for run in runs]
            return "-" if np.isnan(values).all() else harness.spread(values, digits)

        rows.append(
            [
                recipe.name,
                column("nll", 4),
                f"{ratio:.2f}",
                column("newest", 4),
                column("words", 3),
                column("kept", 3),
                column("jump", 3),
            ]
        )
    header = ["recipe", "NLL, all five", "of at once", "NLL, newest", "words right", "kept, worst file", "loss jump"]
    return harness.table(header, rows)


def _note(args: argparse.Namespace) -> str:
    return (
        f"NLL per answer token (nats) and share of words right on {UNSEEN_EACH} unseen puzzles a group; {args.puzzles} puzzles a "
        f"file, {args.epochs} epochs, {args.seeds} seed(s), tiny base. Kept: the worst older file's share of words right at the "
        f"end over that right after its own training. Loss jump: mean of the first {JOIN_STEPS} training losses of a file minus the "
        "last of the one before, mean over the four joins."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--puzzles", type=int, default=1600, help="a file")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of every recipe")
    return parser.parse_args()


if __name__ == "__main__":
    main()
