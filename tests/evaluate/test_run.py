"""A whole evaluation with a real tiny model: results, verdict, what is computed again and what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from stoker.data.dataset import Dataset
from stoker.data.intake import take_in
from stoker.data.rows import Row
from stoker.durable import sha256_file
from stoker.errors import NonFinite, WorkerExit
from stoker.evaluate.items import load_sets
from stoker.evaluate.run import run_evaluation
from stoker.mailbox.control import send_control
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES, Outbox
from stoker.model.base import base_sha256
from stoker.model.batches import collate
from stoker.model.device import resolve_hardware
from stoker.model.load import load_for_training, pad_token_id, save_weights
from stoker.model.resident import Resident
from stoker.model.tiny import ensure_tiny
from stoker.model.tokenizing import encode_rows
from stoker.spec.jobs import BaseRef, DatasetRef, EvaluateJob, IntakeJob, ItemSet, ModelRef
from stoker.spec.lab import EvaluateSpec, ModelSpec, SplitSpec, TrainSpec

TRAIN = TrainSpec(threads=1, precision="fp32", max_length=96)
EVALUATE = EvaluateSpec(max_new_tokens=8, batch_size=8, heldout_answers=4, resamples=400)
WORDS = [
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heron",
    "iris",
    "jade",
    "kelp",
    "larch",
    "mango",
    "nettle",
    "opal",
    "pine",
    "quartz",
    "reed",
]


class Lab:
    """A trained version and its base, a dataset with sealed rows, and two benchmarks, made once for this file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = [
            {"prompt": f"What is the colour of {word} number {n}?", "answer": f"{word} {n} is {WORDS[(i + n) % 18]}"}
            for i, word in enumerate(WORDS)
            for n in range(4)
        ]
        self.dataset = self._take_in(rows)
        self.base = BaseRef(name="tiny", folder=folder / "base")
        trained = Dataset(self.dataset.folder).train_rows()
        ensure_tiny(folder / "base", trained, 0)
        self.base_ref = ModelRef(label="base", base=self.base, weights_sha256=base_sha256(folder / "base"))
        self.version_ref = self._train(trained)
        self.benchmark = self._benchmark("colours", "normalised", trained[0])

    def job(self, name: str, **fields: Any) -> EvaluateJob:
        made = EvaluateJob(
            evaluation=name,
            run="r1",
            candidate=self.version_ref,
            against=(self.base_ref,),
            sets=(
                ItemSet(name="heldout", heldout=(self.dataset,)),
                ItemSet(name="colours", benchmark=self.benchmark),
            ),
            trained=(self.dataset,),
            evaluate=EVALUATE,
            train=TRAIN,
            answers=self.folder / f"answers-{name}",
            tokens=self.folder / "tokens",
        )
        return made.model_copy(update=fields)

    def _take_in(self, rows: list[dict[str, str]]) -> DatasetRef:
        file = self.folder / "colours.jsonl"
        file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        dataset = DatasetRef(id="d1", folder=self.folder / "d1", name=file.name)
        job = IntakeJob(dataset=dataset, file=file, file_sha256=sha256_file(file), split=SplitSpec(similarity=1.0))
        task = self.folder / "intake"
        task.mkdir()
        outbox = Outbox(task)
        take_in(job, task, outbox)
        outbox.finished(WorkerExit.DONE)
        return dataset

    def _train(self, rows: list[Row]) -> ModelRef:
        """Train a few steps with plain torch: these tests need a better model, not the trainer."""
        torch.manual_seed(0)
        hardware = resolve_hardware(TRAIN)
        loaded = load_for_training(self.folder / "base", None, ModelSpec(method="full"), hardware, 0)
        encoded = [sequences[0] for sequences in encode_rows(rows, loaded.tokenizer)]
        optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=2e-3)
        for _ in range(3):
            for start in range(0, len(encoded), 8):
                batch = collate(encoded[start : start + 8], pad_token_id(loaded.tokenizer), packing=False)
                loaded.model(input_ids=batch["input_ids"], labels=batch["labels"]).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        (self.folder / "v1").mkdir()
        sha256 = save_weights(loaded, self.folder / "v1", "full")
        return ModelRef(label="main/v1", base=self.base, folder=self.folder / "v1", weights_sha256=sha256)

    def _benchmark(self, name: str, scorer: str, seen: Row) -> Path:
        path = self.folder / f"{name}.jsonl"
        items = [{"prompt": f"Name something like {word}, briefly please.", "answer": word} for word in WORDS[:6]]
        items.append(
            {"prompt": str(seen.prompt_messages()[-1]["content"]), "answer": seen.answer(), "category": "seen"}
        )
        items.append({"prompt": "long " * 200, "answer": "long"})
        path.write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in items))
        path.with_suffix(".toml").write_text(f'scorer = "{scorer}"\n')
        return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


class CountingResident(Resident):
    """Counts what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def get(self, ref: ModelRef, *rest: Any) -> Any:
        self.loaded.append(ref.label)
        return super().get(ref, *rest)


def evaluate(job: EvaluateJob, folder: Path, resident: Resident) -> tuple[WorkerExit, list[dict[str, Any]]]:
    folder.mkdir(exist_ok=True)
    outbox, code = Outbox(folder), WorkerExit.CRASH
    try:
        code = run_evaluation(job, folder, outbox, resident)
    finally:
        outbox.finished(code)
    return code, JournalReader(folder / MESSAGES).read()


def result_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    (result,) = [message for message in messages if message["kind"] == "result"]
    return result


@pytest.fixture(scope="module")
def first(lab: Lab) -> tuple[dict[str, Any], list[dict[str, Any]], list[str], Path]:
    """The first evaluation of the lab: its result, messages, loads and folder."""
    resident, folder = CountingResident(), lab.folder / "e1"
    code, messages = evaluate(lab.job("kept"), folder, resident)
    assert code == WorkerExit.DONE
    return result_of(messages), messages, resident.loaded, folder


def test_the_trained_version_is_better_than_its_base_and_promoted(first: Any, lab: Lab) -> None:
    result, messages, loaded, _ = first
    target = result["comparisons"][0]
    assert (target["candidate"], target["against"], target["benchmark"]) == ("main/v1", "base", "heldout")
    assert target["metric"] == "nll" and target["outcome"] == "better"
    assert target["difference"] == pytest.approx(target["candidate_score"] - target["against_score"])
    assert target["high"] < 0 and target["n"] == len(Dataset(lab.dataset.folder).heldout_rows()) >= 16
    assert result["verdict"]["promote"] is True and result["verdict"]["reason"].startswith("Promoted main/v1 over base")
    assert loaded == ["main/v1", "base"]
    phases = [message for message in messages if message["kind"] == "phase"]
    assert [phases[0]["done"], phases[-1]["name"]] == [0, "verdict"]
    assert phases[-2]["done"] == phases[-2]["total"] == phases[0]["total"] > 0


def test_results_are_published_and_kept_item_by_item(first: Any) -> None:
    result, _, _, folder = first
    published = orjson.loads((folder / "results.json").read_bytes())
    assert published["comparisons"] == result["comparisons"] and published["verdict"] == result["verdict"]
    lines = [orjson.loads(line) for line in (folder / "items-main-v1.jsonl").read_bytes().splitlines()]
    assert len(lines) == len((folder / "items-base.jsonl").read_bytes().splitlines())
    heldout = [line for line in lines if line["benchmark"] == "heldout"]
    assert all(line["nll"] > 0 for line in heldout)
    assert sum(line["answer"] is not None for line in heldout) == EVALUATE.heldout_answers
    item = next(line for line in lines if line["benchmark"] == "colours")
    assert item["prompt"].startswith("Name something like amber") and item["expected"] == "amber"
    assert set(item["scores"]) == {"normalised", "f1"} and isinstance(item["answer"], str)


def test_scores_hold_means_and_perplexity(first: Any) -> None:
    result, _, _, folder = first
    lines = [orjson.loads(line) for line in (folder / "items-base.jsonl").read_bytes().splitlines()]
    nlls = [line["nll"] for line in lines if line["benchmark"] == "heldout"]
    scores = result["scores"]["base"]["heldout"]
    assert scores["nll"] == pytest.approx(np.mean(nlls)) and scores["perplexity"] == pytest.approx(
        np.exp(np.mean(nlls))
    )
    assert scores["n"] == len(nlls)


def test_seen_and_long_items_are_left_out_and_counted(first: Any) -> None:
    result, messages, _, _ = first
    colours = next(each for each in result["sets"] if each["name"] == "colours")
    assert colours["left_out"] == {"near a trained row": 1, "longer than train.max_length": 1}
    assert colours["items"] == 6
    texts = [message["text"] for message in messages if message["kind"] == "event"]
    assert "1 items of colours do not count: near a trained row" in texts


def test_a_second_evaluation_loads_no_model_and_says_the_same(first: Any, lab: Lab) -> None:
    resident = CountingResident()
    code, messages = evaluate(lab.job("kept"), lab.folder / "e2", resident)
    assert code == WorkerExit.DONE and resident.loaded == []
    assert result_of(messages)["comparisons"] == first[0]["comparisons"]


def test_the_bases_results_are_reused_when_a_new_candidate_comes(first: Any, lab: Lab) -> None:
    resident = CountingResident()
    candidate = lab.version_ref.model_copy(update={"label": "main/v2"})
    job = lab.job("kept", candidate=candidate, against=(lab.version_ref, lab.base_ref))
    code, messages = evaluate(job, lab.folder / "e3", resident)
    assert code == WorkerExit.DONE and resident.loaded == []
    result = result_of(messages)
    assert result["verdict"]["promote"] is False
    assert result["verdict"]["reason"].startswith("Kept main/v1: main/v2 shows no detectable difference on heldout")
    assert any(note.startswith("Better against base") for note in result["verdict"]["notes"])


def test_a_torn_and_spoilt_answers_file_costs_only_what_is_missing(first: Any, lab: Lab) -> None:
    path = lab.folder / "answers-kept" / f"{lab.base_ref.weights_sha256}.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]) + b'{"kind": "nll", "row": 7}\n' + lines[-2][: len(lines[-2]) // 2])
    resident = CountingResident()
    code, messages = evaluate(lab.job("kept"), lab.folder / "e4", resident)
    assert code == WorkerExit.DONE and resident.loaded == ["base"]
    assert result_of(messages)["comparisons"] == first[0]["comparisons"]
    done = [message["total"] for message in messages if message["kind"] == "phase" and message["name"] == "answer"]
    assert done[0] == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda job: {"evaluate": job.evaluate.model_copy(update={"max_new_tokens": 4})},
        lambda job: {"train": job.train.model_copy(update={"precision": "bf16"})},
    ],
    ids=["max_new_tokens", "precision"],
)
def test_what_changes_an_answer_makes_it_be_computed_again(
    first: Any, lab: Lab, change: Callable[[EvaluateJob], dict[str, Any]], tmp_path: Path
) -> None:
    resident = CountingResident()
    job = lab.job("kept")
    evaluate(job.model_copy(update=change(job)), tmp_path / "e", resident)
    assert resident.loaded == ["main/v1", "base"]


def test_max_length_and_heldout_answers_are_read(first: Any, lab: Lab, tmp_path: Path) -> None:
    job = lab.job("kept")
    short = job.model_copy(update={"train": job.train.model_copy(update={"max_length": 8})})
    result = result_of(evaluate(short, tmp_path / "e1", CountingResident())[1])
    assert result["sets"][0]["items"] == 0
    assert result["verdict"]["reason"].endswith("(only 0 items, at least 6 are needed).")
    none = job.model_copy(update={"evaluate": job.evaluate.model_copy(update={"heldout_answers": 0})})
    result = result_of(evaluate(none, tmp_path / "e2", CountingResident())[1])
    assert [each["metric"] for each in result["comparisons"] if each["benchmark"] == "heldout"] == ["nll"]


def test_a_benchmarks_own_limit_of_an_answer_holds(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text(
        '{"prompt": "Name something like amber, briefly please.", "answer": "amber"}\n'
    )
    answers = {}
    for limit in (2, 8, 100):
        (tmp_path / "short.toml").write_text(f"max_new_tokens = {limit}\n")
        job = lab.job(
            "short", sets=(ItemSet(name="short", benchmark=tmp_path / "short.jsonl"),), answers=tmp_path / "a"
        )
        evaluate(job, tmp_path / f"e{limit}", CountingResident())
        lines = (tmp_path / f"e{limit}" / "items-main-v1.jsonl").read_bytes().splitlines()
        answers[limit] = orjson.loads(lines[0])["answer"]
    assert answers[8].startswith(answers[2]) and len(answers[2]) < len(answers[8]) and answers[100] == answers[8]


def test_a_pause_keeps_what_was_measured(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.evaluate.progress._BEAT_SECONDS", 0.0)  # a small base is measured between two looks

    class PausingResident(CountingResident):
        def get(self, ref: ModelRef, *rest: Any) -> Any:
            if ref.label == "base":
                send_control(tmp_path / "e", "pause")
            return super().get(ref, *rest)

    job = lab.job("paused", answers=tmp_path / "answers")
    code, messages = evaluate(job, tmp_path / "e", PausingResident())
    assert code == WorkerExit.PAUSED and not [each for each in messages if each["kind"] == "result"]
    resident = CountingResident()
    code, _ = evaluate(job, tmp_path / "e", resident)
    assert code == WorkerExit.DONE and resident.loaded == ["base"]


def test_without_sealed_rows_nothing_is_promoted(first: Any, lab: Lab, tmp_path: Path) -> None:
    job = lab.job("kept")
    _, messages = evaluate(job.model_copy(update={"sets": job.sets[1:]}), tmp_path / "e1", CountingResident())
    verdict = result_of(messages)["verdict"]
    assert (verdict["promote"], verdict["outcome"]) == (False, "no-difference")
    assert verdict["reason"] == "Kept base: nothing can be said on the target heldout (no sealed rows)."


def test_a_benchmark_that_can_not_be_read_costs_only_itself(first: Any, lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x"}\n')
    job = lab.job("kept", sets=(*lab.job("kept").sets, ItemSet(name="bad", benchmark=tmp_path / "bad.jsonl")))
    job = job.model_copy(update={"evaluate": EVALUATE.model_copy(update={"guards": ("bad",)})})
    _, messages = evaluate(job, tmp_path / "e", CountingResident())
    verdict = result_of(messages)["verdict"]
    assert (
        verdict["promote"] is False and "a guard could not be measured (bad: benchmark bad.jsonl" in verdict["reason"]
    )
    assert any(message["kind"] == "event" and message["code"] == "evaluation.unreadable" for message in messages)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ('scorer = "code"', "which is off"),
        ('scorer = "python"\noptions = {file = "mine.py"}', "ZeroDivisionError"),
        ('scorer = "choice"\nmethod = "likelihood"', "it is asked by likelihood"),
    ],
)
def test_a_benchmark_that_can_not_be_marked_costs_only_itself(
    first: Any, lab: Lab, tmp_path: Path, header: str, words: str
) -> None:
    (tmp_path / "mine.py").write_text("def score(expected, answer, meta):\n    return 1 / 0\n")
    item = {"prompt": "What is the capital of France?", "answer": "a", "choices": ["a", "b"], "meta": {"tests": "pass"}}
    (tmp_path / "bad.jsonl").write_bytes(orjson.dumps(item) + b"\n")
    (tmp_path / "bad.toml").write_text(header)
    job = lab.job("kept", sets=(*lab.job("kept").sets, ItemSet(name="bad", benchmark=tmp_path / "bad.jsonl")))
    _, messages = evaluate(job, tmp_path / "e", CountingResident())
    assert result_of(messages)["verdict"] == first[0]["verdict"]
    (told,) = [message for message in messages if message.get("code") == "evaluation.unreadable"]
    assert told["text"].startswith("bad is not measured") and words in told["text"]


def test_a_scorers_options_hold_in_an_evaluation(tmp_path: Path) -> None:
    item = {"prompt": "What is the capital of France?", "answer": "7"}
    for name, margin in (("loose", 2), ("strict", 0)):
        (tmp_path / f"{name}.jsonl").write_bytes(orjson.dumps(item) + b"\n")
        (tmp_path / f"{name}.toml").write_text(f'scorer = "number"\n[options]\nmargin = {margin}\n')
    sets = tuple(ItemSet(name=name, benchmark=tmp_path / f"{name}.jsonl") for name in ("loose", "strict"))
    loaded = load_sets(sets, [], EVALUATE)
    scores = [each.scorer.score({}, "7", "8")["number"] for each in loaded]
    assert scores == [1.0, 0.0]


def test_a_model_with_broken_weights_ends_the_evaluation(lab: Lab, tmp_path: Path) -> None:
    class BreakingResident(CountingResident):
        def get(self, ref: ModelRef, *rest: Any) -> Any:
            loaded = super().get(ref, *rest)
            with torch.no_grad():
                next(loaded.model.parameters()).fill_(float("nan"))
            return loaded

    with pytest.raises(NonFinite, match="under main/v1 is not finite"):
        evaluate(lab.job("broken", answers=tmp_path / "answers"), tmp_path / "e", BreakingResident())
