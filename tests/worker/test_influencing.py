"""A file of wrong answers among good ones is found by both measurements, and the model stays as it was."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from train_lab import as_parent, make_job, messages, train

from stoker.data.rows import Row
from stoker.durable import publish_folder
from stoker.errors import WorkerExit
from stoker.mailbox.control import send_control
from stoker.model.resident import Resident
from stoker.spec.jobs import JOB, DatasetRef, InfluenceJob, ItemSet, ModelRef
from stoker.spec.lab import EvaluateSpec, TrainSpec
from stoker.worker.tasks import work_on

COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey")
THINGS = [a + b for a in ("ka", "mo", "ti", "ru", "se", "lo") for b in ("dor", "lim", "pat", "gus", "ven")]
TRUTH = {thing: COLOURS[place * 5 % 8] for place, thing in enumerate(THINGS)}
QUESTIONS = ("What colour is a {}?", "Tell me the colour of the {}.", "A {} has which colour?")
PLANTED = "swapped.jsonl"
TRAIN = TrainSpec(threads=1, precision="fp32", max_length=128)

pytestmark = pytest.mark.slow


def publish(lab: Path, number: int, name: str, pairs: list[tuple[str, str]], sealed: int = 0) -> DatasetRef:
    """Publish a dataset, its last `sealed` rows held out."""
    folder = lab / "datasets" / f"d{number:012x}"
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in pairs]
    lines = [
        orjson.dumps(Row.from_content(n, t).to_json() | {"is_representative": True}) for n, t in enumerate(turns, 1)
    ]
    with publish_folder(folder, {"kind": "dataset"}) as staging:
        (staging / "rows.jsonl").write_bytes(b"\n".join(lines[: len(lines) - sealed]) + b"\n")
        (staging / "heldout.jsonl").write_bytes(b"\n".join(lines[len(lines) - sealed :]))
        (staging / "ledger.jsonl").write_bytes(b"")
        (staging / "dataset.json").write_bytes(orjson.dumps({"id": folder.name, "name": name}))
    return DatasetRef(id=folder.name, folder=folder, name=name)


def colours(seed: int, num: int, *, shift: int = 0) -> list[tuple[str, str]]:
    """Questions with the right colour, or with one `shift` places on."""
    pick = random.Random(seed)
    found = []
    for _ in range(num):
        thing, question = pick.choice(THINGS), pick.choice(QUESTIONS)
        words = " ".join(pick.choice(("please", "now", "then", "thanks", "well")) for _ in range(3))
        answer = COLOURS[(COLOURS.index(TRUTH[thing]) + shift) % len(COLOURS)]
        found.append((f"{question.format(thing)} {words}", answer))
    return found


def unrelated(seed: int, num: int) -> list[tuple[str, str]]:
    pick = random.Random(seed)
    drawn = [[pick.choice(("ash", "birch", "elm", "fir", "oak")) for _ in range(4)] for _ in range(num)]
    return [(f"turn around {' '.join(words)}", " ".join(reversed(words))) for words in drawn]


class Lab:
    """A tiny model trained on four files at once, one of which has the colours swapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = [
            publish(folder, 1, "first.jsonl", colours(1, 200, shift=0), sealed=20),
            publish(folder, 2, "second.jsonl", colours(2, 200, shift=0), sealed=20),
            publish(folder, 3, PLANTED, colours(3, 200, shift=3), sealed=20),
            publish(folder, 4, "trees.jsonl", unrelated(4, 200), sealed=20),
        ]
        job, run = make_job(folder, "r1", self.files, epochs=5, batch_tokens=1024)
        assert train(job, run) == WorkerExit.DONE
        self.model: ModelRef = as_parent(job)
        self.version = job.output
        self.benchmark = folder / "truth.jsonl"
        asked = [{"prompt": f"{QUESTIONS[n % 3].format(t)} ok now", "answer": TRUTH[t]} for n, t in enumerate(THINGS)]
        self.benchmark.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in asked))
        self.number = 0

    def target(self) -> ItemSet:
        return ItemSet(name="truth", benchmark=self.benchmark)

    def run(self, method: str, resident: Resident | None = None, **fields: Any) -> tuple[WorkerExit, dict[str, Any]]:
        """Carry out the task and return its end, with the result or with what it said when it ended."""
        self.number += 1
        task = self.folder / "tasks" / f"influence-{self.number}"
        task.mkdir(parents=True)
        given: dict[str, Any] = {
            "model": self.model, "method": method, "datasets": tuple(self.files), "targets": (self.target(),),
            "rows": 128, "evaluate": EvaluateSpec(resamples=1000), "train": TRAIN, **fields,
        }  # fmt: skip
        (task / JOB).write_text(InfluenceJob(**given).model_dump_json())
        exit = work_on(task, Resident() if resident is None else resident)
        return exit, (messages(task, "result") or messages(task, "finished"))[0]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("influence"))


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("method", ["loss", "gradient"])
def test_the_planted_file_hurts_and_the_good_ones_help(lab: Lab, method: str) -> None:
    before = content(lab.version)
    exit, result = lab.run(method)
    assert exit is WorkerExit.DONE
    outcomes = {one["name"]: one["outcome"] for one in result["effects"]}
    assert [name for name, outcome in outcomes.items() if outcome == "hurts"] == [PLANTED]
    effects = {one["name"]: one["effect"] for one in result["effects"]}
    assert max(effects["first.jsonl"], effects["second.jsonl"]) < 0 < effects[PLANTED]
    worst = result["effects"][0]
    assert worst["name"] == PLANTED and worst["low"] > 0
    assert content(lab.version) == before, "the model's files are as they were"
    assert result["moved"] == "all weights"


def test_the_most_harmful_rows_are_of_the_planted_file(lab: Lab) -> None:
    _, result = lab.run("gradient")
    assert len(result["rows"]) == 10 and sum(row["name"] == PLANTED for row in result["rows"]) >= 8
    lines = [line for file in lab.files for line in (file.folder / "rows.jsonl").read_bytes().splitlines()]
    rows = {one["id"]: one for one in map(orjson.loads, lines)}
    for row in result["rows"]:
        assert rows[row["row"]]["line"] == row["line"] and rows[row["row"]]["messages"][-1]["content"] == row["answer"]
        assert row["effect"] > 0 > row["cosine"]


def test_the_same_seed_measures_the_same_and_another_draws_other_rows(lab: Lab) -> None:
    first, again, other = (lab.run("loss", draws=1, rows=8, seed=seed)[1]["effects"] for seed in (0, 0, 1))
    assert first == again != other


def test_a_files_own_sealed_rows_never_judge_it(lab: Lab) -> None:
    """By its own sealed rows the planted file would help: they have the same wrong answers."""
    own = ItemSet(name="heldout", heldout=(lab.files[2],))
    exit, result = lab.run("loss", targets=(own,), draws=1)
    assert exit is WorkerExit.DONE and PLANTED not in {one["name"] for one in result["effects"]}
    everything = ItemSet(name="heldout", heldout=tuple(lab.files[:2]))
    for method in ("loss", "gradient"):
        _, result = lab.run(method, targets=(everything,), rows=32)
        effects = {one["name"]: one["effect"] for one in result["effects"]}
        assert effects.keys() == {file.name for file in lab.files} and max(effects, key=effects.__getitem__) == PLANTED


def test_rows_removed_by_review_are_not_measured(lab: Lab) -> None:
    rows = [orjson.loads(line)["id"] for line in (lab.files[2].folder / "rows.jsonl").read_bytes().splitlines()]
    few = lab.files[2].model_copy(update={"removed": tuple(rows[4:])})
    exit, end = lab.run("gradient", datasets=(lab.files[0], few))
    assert exit is WorkerExit.BAD_CONFIG and "swapped.jsonl" in end["what"] and "4 rows" in end["what"]


def test_fewer_items_than_can_decide_are_refused(lab: Lab) -> None:
    short = lab.folder / "short.jsonl"
    short.write_bytes(b"".join(lab.benchmark.read_bytes().splitlines(keepends=True)[:4]))
    exit, end = lab.run("loss", targets=(ItemSet(name="short", benchmark=short),))
    assert exit is WorkerExit.BAD_CONFIG and "short has 4 items" in end["what"] and end["remedy"]
    exit, end = lab.run("loss", items=3)
    assert exit is WorkerExit.BAD_CONFIG and "truth has 3 items" in end["what"]


def test_a_benchmark_that_cannot_be_read_is_an_error(lab: Lab) -> None:
    broken = lab.folder / "broken.jsonl"
    broken.write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "no answer"}\n')
    exit, end = lab.run("loss", targets=(ItemSet(name="broken", benchmark=broken),))
    assert exit is WorkerExit.BAD_CONFIG and "line 2" in end["why"]


def test_it_stops_when_asked(lab: Lab) -> None:
    class Asking(Resident):
        """Asks for a pause when room is made for the model."""

        def clear(self) -> None:
            send_control(lab.folder / "tasks" / f"influence-{lab.number}", "pause")

    assert lab.run("gradient", Asking())[0] is WorkerExit.PAUSED
