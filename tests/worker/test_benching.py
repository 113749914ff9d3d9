"""Benchmarks on a real tiny model in a worker's station: answers, options, confidence, resumption, what is shared."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from stoker.errors import WorkerExit
from stoker.evaluate.answers import AnswerBook, conditions_of
from stoker.mailbox.benches import BenchItem, BenchResult, read_benches, read_items
from stoker.mailbox.control import send_control
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES, Outbox
from stoker.model.base import base_sha256
from stoker.model.device import resolve_hardware
from stoker.model.load import load_for_inference, load_tokenizer
from stoker.model.resident import Resident
from stoker.model.tokenizing import encode_row
from stoker.spec.jobs import BaseRef, BenchJob, BenchModel, BenchSettings, ModelRef
from stoker.spec.lab import EvaluateSpec, TrainSpec
from stoker.worker.benching import run_bench

TRAIN = TrainSpec(threads=1, precision="fp32", max_length=256)
PLACES = ("Aru", "Belm", "Coro", "Dunwick", "Elsa", "Farr", "Gant", "Hoyle")


class CountingResident(Resident):
    """Counts what is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    def get(self, *args: Any) -> Any:
        self.loads += 1
        return super().get(*args)


class Bench:
    """A folder of benchmarks and results with the tiny base as its one model."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.base, self.number = folder, base, 0
        self.resident = CountingResident()
        ref = ModelRef(label="base", base=BaseRef(name="tiny", folder=base), weights_sha256="to be found")
        self.model = BenchModel(source="base", model=ref)

    def write(self, name: str, header: str = 'scorer = "f1"\n', extra: list[dict[str, Any]] | None = None) -> Path:
        path = self.folder / f"{name}.jsonl"
        records = [
            {"id": f"p{n}", "prompt": f"How many people live in {place} house number {n * 7 + 3}?",
             "answer": f"In {place} there are {n * 7 + 3} people.", "category": "abc" if n < 3 else "def",
             "meta": {"choices": [f"In {place} there are {n * 7 + 3} people.", "blue"]}}
            for n, place in enumerate(PLACES)
        ]  # fmt: skip
        path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in [*records, *(extra or [])]))
        path.with_suffix(".toml").write_text(header)
        return path

    def run(self, *paths: Path, settings: BenchSettings | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Run in this process and return the messages; `code` is how it ended."""
        self.number += 1
        task = self.folder / f"task{self.number}"
        task.mkdir()
        outbox = Outbox(task)
        given: dict[str, Any] = {
            "models": (self.model,), "benchmarks": paths, "settings": settings or BenchSettings(max_new_tokens=6),
            "evaluate": EvaluateSpec(batch_size=4, resamples=400), "train": TRAIN, "answers": self.folder / "answers",
            "output": self.folder / "benches", "root": self.folder, **fields,
        }  # fmt: skip
        if fields.get("pause"):
            send_control(task, "pause")
        self.code = run_bench(BenchJob(**given), task, outbox, self.resident)
        outbox.finished(self.code)
        return JournalReader(task / MESSAGES).read()

    def result(self, messages: list[dict[str, Any]]) -> tuple[BenchResult, list[BenchItem]]:
        (done,) = [message for message in messages if message["kind"] == "bench" and message["state"] == "done"]
        folder = self.folder / "benches" / done["key"]
        return BenchResult.model_validate_json((folder / "result.json").read_bytes()), read_items(folder)


@pytest.fixture
def bench(tmp_path: Path, tiny_base: Path) -> Bench:
    return Bench(tmp_path, tiny_base)


def test_a_model_is_measured_with_nll_confidence_speed_and_sizes(bench: Bench) -> None:
    result, items = bench.result(bench.run(bench.write("people")))
    assert (result.n, result.source, result.weights_sha256) == (8, "base", base_sha256(bench.base))
    assert result.scores["f1"] == pytest.approx(np.mean([item.scores["f1"] for item in items]))
    assert result.scores["nll"] == pytest.approx(np.mean([item.nll for item in items if item.nll is not None]))
    assert {name: found["n"] for name, found in result.by_category.items()} == {"abc": 3, "def": 5}
    told = [item.confidence for item in items if item.confidence is not None]
    assert told and all(0 < confidence <= 1 for confidence in told)
    assert result.tokens_out > 0 and result.first_token_seconds and result.tokens_per_second
    assert result.disk_bytes == sum(path.stat().st_size for path in bench.base.glob("*.safetensors"))
    assert result.memory_bytes and result.memory_bytes <= result.disk_bytes * 1.1
    assert result.settings["precision"] == "fp32" and result.settings["max_length"] == 256


def test_the_confidence_is_the_mean_probability_of_the_answers_tokens(bench: Bench) -> None:
    """An answer cut off at the limit has no stop token; its confidence is of what it has."""
    _, items = bench.result(bench.run(bench.write("people")))
    loaded = load_for_inference(bench.model.model, bench.base, resolve_hardware(TRAIN))  # type: ignore[arg-type]
    from stoker.data.rows import Row

    item = next(item for item in items if item.finished is False)
    turns = [{"role": "user", "content": item.prompt}, {"role": "assistant", "content": item.answer or ""}]
    sequence = encode_row(Row.from_content(1, turns), loaded.tokenizer)[0]
    places = np.flatnonzero(sequence.trained)[:-1]
    with torch.inference_mode():
        ids = torch.from_numpy(sequence.ids).long()[None]
        log_probabilities = loaded.model(input_ids=ids).logits.float().log_softmax(-1)[0]
    picked = [float(log_probabilities[place - 1, int(sequence.ids[place])]) for place in places]
    assert item.confidence == pytest.approx(math.exp(np.mean(picked)), rel=1e-4)


def test_what_is_known_is_not_measured_again(bench: Bench) -> None:
    path = bench.write("people")
    first = bench.run(path)
    loads = bench.resident.loads
    second = bench.run(path)
    assert bench.resident.loads == loads and [m["is_kept"] for m in second if m.get("state") == "done"] == [True]
    assert len(read_benches(bench.folder / "benches")) == 1
    third = bench.run(path, again=True)
    assert bench.resident.loads > loads and [m["is_kept"] for m in third if m.get("state") == "done"] == [False]
    before, after = bench.result(first)[0], bench.result(third)[0]
    assert (before.key, before.scores) == (after.key, after.scores)
    totals = [m["total"] for m in third if m["kind"] == "phase" and m["name"] == "answer"]
    assert totals[0] == 0, "every answer was kept"


def test_answers_without_examples_are_those_that_an_evaluation_keeps(bench: Bench) -> None:
    bench.run(bench.write("people"))
    hardware = resolve_hardware(TRAIN)
    with AnswerBook(bench.folder / "answers", base_sha256(bench.base), conditions_of(bench.base, hardware), 6) as book:
        from stoker.data.benchmarks import read_benchmark

        rows = [item.row.id for item in read_benchmark(bench.folder / "people.jsonl").items]
        assert all(book.answer(row) is not None and book.likelihood(row) is not None for row in rows)


@pytest.mark.parametrize(
    "settings",
    [
        BenchSettings(max_new_tokens=6, shots=2),
        BenchSettings(max_new_tokens=6, limit=3),
        BenchSettings(max_new_tokens=3),
    ],
    ids=["shots", "limit", "max_new_tokens"],
)
def test_every_setting_makes_another_result(bench: Bench, settings: BenchSettings) -> None:
    path = bench.write("people")
    plain, plain_items = bench.result(bench.run(path))
    other, items = bench.result(bench.run(path, settings=settings))
    assert plain.key != other.key and plain.settings != other.settings
    by_id = {item.id: item for item in plain_items}
    if settings.limit:
        assert other.n == 3 and all(item.answer == by_id[item.id].answer for item in items)
    elif settings.shots:
        assert other.n == 6 and other.left_out == {"shown as an example": 2}
        asked = [item for item in items if item.left_out is None]
        assert all(item.nll != by_id[item.id].nll for item in asked)
    else:
        assert [len(item.answer or "") for item in items] != [len(item.answer or "") for item in plain_items]


def test_a_pause_keeps_what_was_answered_and_the_next_goes_on(bench: Bench) -> None:
    path = bench.write("people")

    class PausingResident(CountingResident):
        """Asks for a pause when the model is wanted for the second time: for the confidence of its answers."""

        def get(self, *args: Any) -> Any:
            if self.loads == 1:
                send_control(folder, "pause")
            return super().get(*args)

    folder = bench.folder / "task1"
    bench.resident = PausingResident()
    bench.run(path)
    assert bench.code is WorkerExit.PAUSED and not read_benches(bench.folder / "benches")
    (kept,) = (bench.folder / "answers").iterdir()
    assert len(kept.read_bytes().splitlines()) == 16, "the likelihood and the answer of each item"
    bench.resident = CountingResident()
    messages = bench.run(path)
    assert bench.code is WorkerExit.DONE
    assert next(m["total"] for m in messages if m["kind"] == "phase" and m["name"] == "answer") == 0


def test_a_prompt_longer_than_the_context_is_left_out_and_counted(bench: Bench) -> None:
    long = {"id": "long", "prompt": "very " * 300 + "long", "answer": "yes", "meta": {"choices": ["yes", "no"]}}
    result, items = bench.result(bench.run(bench.write("people", extra=[long])))
    assert result.left_out == {"longer than train.max_length": 1} and result.n == 8
    assert items[-1].left_out == "longer than train.max_length" and items[-1].scores == {}


@pytest.mark.parametrize("method", ["likelihood", "likelihood-normalised"])
def test_options_are_chosen_by_the_models_own_likelihood(bench: Bench, method: str) -> None:
    header = f'scorer = "choice"\nmethod = "{method}"\n'
    result, items = bench.result(bench.run(bench.write("people", header)))
    assert result.settings["method"] == method and all(item.answer is None for item in items)
    loaded = load_for_inference(bench.model.model, bench.base, resolve_hardware(TRAIN))  # type: ignore[arg-type]
    for item in items[:3]:
        totals = [_log_probability(loaded, item.prompt, option) for option in item.meta["choices"]]
        if method == "likelihood-normalised":
            totals = [total / len(option.encode()) for total, option in zip(totals, item.meta["choices"], strict=True)]
        shares = np.exp(totals) / np.exp(totals).sum()
        assert item.choice == item.meta["choices"][int(np.argmax(totals))]
        assert item.confidence == pytest.approx(float(shares.max()), rel=1e-3)
        assert item.scores == {"choice": float(item.choice == item.expected)}


def _log_probability(loaded: Any, prompt: str, answer: str) -> float:
    """Sum what the model gives the answer's tokens and the end of its turn, one forward pass and no batching."""
    from stoker.data.rows import Row

    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    sequence = encode_row(Row.from_content(1, turns), loaded.tokenizer)[0]
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.from_numpy(sequence.ids).long()[None]).logits.float()
    values = logits.log_softmax(-1)[0]
    return sum(float(values[place - 1, int(sequence.ids[place])]) for place in np.flatnonzero(sequence.trained))


def test_the_examples_are_in_the_prompt_that_the_model_gets(bench: Bench) -> None:
    from stoker.analysis.scorers import find_scorer
    from stoker.bench.questions import question_set
    from stoker.model.tokenizing import encode_row_prompt

    asked = question_set(bench.write("people"), BenchSettings(shots=2), lambda _, header: find_scorer(header.scorer))
    (first, *_) = asked.asked
    text = load_tokenizer(bench.base).decode(encode_row_prompt(first.row, load_tokenizer(bench.base)))
    assert text.count("How many people live in") == 3 and text.count("there are") == 2
