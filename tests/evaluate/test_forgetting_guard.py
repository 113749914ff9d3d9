"""The basics in an evaluation: told, guarding or off, and never changing what else is found. The answers are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.data.benchmarks import read_benchmark
from stoker.errors import WorkerExit
from stoker.evaluate.answers import Answer, AnswerBook, Likelihood, conditions_of
from stoker.evaluate.run import run_evaluation
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES, Outbox
from stoker.model.device import resolve_hardware
from stoker.model.resident import Resident
from stoker.spec.jobs import BaseRef, EvaluateJob, ItemSet, ModelRef
from stoker.spec.lab import EvaluateSpec, TrainSpec
from stoker.tasks.basics.install import MAX_NEW_TOKENS, write_basics

TRAIN = TrainSpec(threads=1, precision="fp32", max_length=256)
NO_DOUBT = {"json": 20, "copying": 20, "sorting": 12, "arithmetic": 15, "format": 9, "stopping": 20}


class Scene:
    """Two models whose answers are known: the candidate is better on the lab's own benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = folder / "base"
        self.base.mkdir()
        (self.base / "config.json").write_text('{"max_position_embeddings": 512}')
        items = [{"prompt": f"question {n} of the lab", "answer": f"yes {n}"} for n in range(30)]
        self.own = folder / "own.jsonl"
        self.own.write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in items))
        self.basics = write_basics(folder / "basics")
        base = BaseRef(name="tiny", folder=self.base)
        self.v1 = ModelRef(label="main/v1", base=base, folder=folder / "v1", weights_sha256="1" * 64)
        self.v2 = ModelRef(label="main/v2", base=base, folder=folder / "v2", weights_sha256="2" * 64)
        self.base_ref = ModelRef(label="base", base=base, weights_sha256="b" * 64)

    def answer(self, ref: ModelRef, right: Mapping[str, int], *, own: int) -> None:
        """Let a model have answered: so many of each category of the basics, and of the lab's own, rightly."""
        conditions = conditions_of(self.base, resolve_hardware(TRAIN))
        with AnswerBook(self.folder / "answers", ref.weights_sha256, conditions, 512) as book:
            for place, item in enumerate(read_benchmark(self.own).items):
                book.add_likelihood(item.row.id, Likelihood(1.0, 4, 20))
                book.add_answer(item.row.id, Answer(item.answer if place < own else "no", True))
            places = dict.fromkeys(right, 0)
            for item in read_benchmark(self.basics).items:
                assert item.category is not None
                places[item.category] += 1
                is_right = places[item.category] <= right[item.category]
                book.add_likelihood(item.row.id, Likelihood(1.0, 4, 20))
                book.add_answer(item.row.id, Answer(item.answer if is_right else "so", True), MAX_NEW_TOKENS)

    def evaluate(self, *, against: tuple[ModelRef, ...] = (), **settings: Any) -> list[dict[str, Any]]:
        evaluate = EvaluateSpec(target="own", resamples=400, **settings)
        basics = () if evaluate.forgetting == "off" else (ItemSet(name="basics", benchmark=self.basics),)
        job = EvaluateJob(
            evaluation="e1", run="r1", candidate=self.v2, against=against or (self.v1, self.base_ref),
            sets=(ItemSet(name="own", benchmark=self.own), *basics), evaluate=evaluate, train=TRAIN,
            answers=self.folder / "answers", tokens=self.folder / "tokens",
        )  # fmt: skip
        task = self.folder / f"task-{len(list(self.folder.iterdir()))}"
        task.mkdir()
        outbox = Outbox(task)
        assert run_evaluation(job, task, outbox, Resident()) is WorkerExit.DONE
        outbox.finished(WorkerExit.DONE)
        return JournalReader(task / MESSAGES).read()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.answer(made.v1, NO_DOUBT, own=5)
    made.answer(made.base_ref, NO_DOUBT, own=0)
    return made


def result(messages: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [message for message in messages if message["kind"] == "result"]
    return found


def told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message.get("code") == "evaluation.forgotten"]


def test_a_loss_is_told_with_the_categories_that_fell_and_the_version_is_still_promoted(scene: Scene) -> None:
    scene.answer(scene.v2, {**NO_DOUBT, "json": 1, "sorting": 9}, own=30)
    messages = scene.evaluate()
    found = result(messages)
    assert found["verdict"]["promote"] is True
    sentence = (
        "main/v2 has forgotten what main/v1 could do, basics 74 of 120 right instead of 96: json 1 of 20 instead of 20, "
        "sorting 9 of 20 instead of 12."
    )
    assert found["verdict"]["reason"].endswith(f"better on own: normalised 100.0 % against 16.7 %, +83.3 (95 % interval "
        f"{found['verdict']['reason'].split('interval ')[1].split(',')[0]}, 30 items). {sentence}")  # fmt: skip
    (event,) = told(messages)
    assert (event["severity"], event["text"]) == ("warn", sentence)
    lost = [each["name"] for each in event["data"]["categories"] if each["is_lost"]]
    assert lost == ["json"] and found["forgetting"]["seconds"] >= 0


def test_the_guard_keeps_back_what_forgot_also_where_the_sum_hides_it(scene: Scene) -> None:
    scene.answer(scene.v2, {**NO_DOUBT, "json": 1}, own=30)
    verdict = result(scene.evaluate(forgetting="guard"))["verdict"]
    assert verdict["promote"] is False and verdict["outcome"] == "better"
    assert "but fell by more than 2.0 points on basics: basics 64.2 % against 80.0 %" in verdict["reason"]
    assert verdict["reason"].endswith("json 1 of 20 instead of 20.")
    (scene.folder / "answers" / f"{scene.v2.weights_sha256}.jsonl").unlink()
    scene.answer(scene.v2, {**NO_DOUBT, "json": 4, "format": 20, "sorting": 17}, own=30)
    verdict = result(scene.evaluate(forgetting="guard"))["verdict"]
    assert verdict["promote"] is False and "but forgot more than 2.0 points of the basics" in verdict["reason"]
    assert result(scene.evaluate(forgetting="guard", margin=0.9))["verdict"]["promote"] is True


def test_a_guard_that_could_not_be_asked_keeps_the_version_back(scene: Scene) -> None:
    scene.answer(scene.v2, NO_DOUBT, own=30)
    assert result(scene.evaluate(forgetting="guard"))["verdict"]["promote"] is True
    scene.basics.write_text(scene.basics.read_text().replace("apple", "pear"))
    messages = scene.evaluate(forgetting="guard")
    verdict = result(messages)["verdict"]
    assert verdict["promote"] is False and "is not what was frozen" in verdict["reason"]
    assert "evaluation.unreadable" in [message.get("code") for message in messages]
    assert result(scene.evaluate(forgetting="tell"))["verdict"]["promote"] is True


def test_nothing_forgotten_is_no_event_and_the_other_outcomes_are_those_without_the_basics(scene: Scene) -> None:
    scene.answer(scene.v2, {**NO_DOUBT, "json": 18}, own=11)
    messages, without = scene.evaluate(), scene.evaluate(forgetting="off")
    assert told(messages) == [] and result(messages)["forgetting"]["is_forgotten"] is False
    assert "forgetting" not in result(without)
    assert result(messages)["verdict"] == result(without)["verdict"]
    own = [each for each in result(messages)["comparisons"] if each["benchmark"] == "own"]
    assert own == result(without)["comparisons"]


def test_a_first_version_is_held_against_its_base(scene: Scene) -> None:
    scene.answer(scene.v2, {**NO_DOUBT, "json": 1}, own=30)
    (event,) = told(scene.evaluate(against=(scene.base_ref,)))
    assert event["text"].startswith("main/v2 has forgotten what base could do")


def test_an_answer_to_the_basics_is_short_and_kept_under_its_own_limit(scene: Scene) -> None:
    book = AnswerBook(scene.folder / "answers", "c" * 64, "here", 512)
    with book:
        book.add_answer("row", Answer("short", False), MAX_NEW_TOKENS)
        book.add_answer("row", Answer("long", True))
    again = AnswerBook(scene.folder / "answers", "c" * 64, "here", 512)
    assert again.answer("row", MAX_NEW_TOKENS) == Answer("short", False)
    assert again.answer("row") == Answer("long", True) and again.answer("row", 8) is None
