"""What a benchmark asks: items near trained rows are left out and named, and a file with a mistake is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.analysis.scorers import find_scorer
from stoker.bench import questions
from stoker.bench.questions import NEAR_TRAINED, NOT_SCORABLE, QuestionSet
from stoker.data.intake import take_in
from stoker.durable import sha256_file
from stoker.errors import DataError, WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import BenchSettings, DatasetRef, IntakeJob
from stoker.spec.lab import IntakeSpec

ROWS = [{"prompt": f"Where does train {n * 37} to Aldham leave from?", "answer": f"platform {n}"} for n in range(40)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DatasetRef:
    folder = tmp_path_factory.mktemp("trained")
    file = folder / "trains.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
    dataset = DatasetRef(id="d1", folder=folder / "d1", name=file.name)
    task = folder / "task"
    task.mkdir()
    outbox = Outbox(task)
    take_in(
        IntakeJob(dataset=dataset, file=file, file_sha256=sha256_file(file), intake=IntakeSpec(allow_unproven=True)),
        task,
        outbox,
    )
    outbox.finished(WorkerExit.DONE)
    return dataset


def question_set(path: Path, settings: BenchSettings, trained: Sequence[DatasetRef] = ()) -> QuestionSet:
    return questions.question_set(path, settings, lambda _, header: find_scorer(header.scorer, header.options), trained)


def write(folder: Path, records: list[Any], header: str = 'scorer = "exact"\n') -> Path:
    path = folder / "asked.jsonl"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    path.with_suffix(".toml").write_text(header)
    return path


def test_items_near_trained_rows_do_not_count_for_who_was_trained_on_them(tmp_path: Path, trained: DatasetRef) -> None:
    fresh = {"prompt": "Which river runs past the old mill at Bexley?", "answer": "the Orr"}
    path = write(tmp_path, [*ROWS[:25], fresh])
    seen = question_set(path, BenchSettings(), [trained])
    left_out = [question for question in seen.questions if question.left_out == NEAR_TRAINED]
    assert left_out and [question.expected for question in seen.asked][-1] == "the Orr"
    unseen = question_set(path, BenchSettings())
    assert len(unseen.asked) == 26 and unseen.fingerprint != seen.fingerprint


def test_the_fingerprint_follows_items_header_and_examples(tmp_path: Path) -> None:
    records = [{"prompt": f"question {n} of {n * 77}", "answer": str(n)} for n in range(8)]
    prints = {question_set(write(tmp_path, records), BenchSettings()).fingerprint}
    prints.add(question_set(write(tmp_path, records), BenchSettings()).fingerprint)
    assert len(prints) == 1
    prints.add(question_set(write(tmp_path, records, 'scorer = "f1"\n'), BenchSettings()).fingerprint)
    prints.add(question_set(write(tmp_path, records, 'scorer = "exact"\nsystem = "x"\n'), BenchSettings()).fingerprint)
    prints.add(question_set(write(tmp_path, records), BenchSettings(shots=1)).fingerprint)
    prints.add(question_set(write(tmp_path, records), BenchSettings(limit=3)).fingerprint)
    assert len(prints) == 5


def test_a_limit_that_leaves_all_and_a_seed_that_decides_nothing_are_the_same_question(tmp_path: Path) -> None:
    path = write(tmp_path, [{"prompt": f"question {n} of {n * 77}", "answer": str(n)} for n in range(8)])
    plain = question_set(path, BenchSettings())
    same = question_set(path, BenchSettings(limit=8, seed=3))
    assert (plain.settings, plain.fingerprint) == (same.settings, same.fingerprint)


def test_an_item_whose_own_answer_gets_no_marks_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, [{"prompt": "how many", "answer": "none at all"}, {"prompt": "and now", "answer": "7"}],
                 'scorer = "number"\n')  # fmt: skip
    assert [question.left_out for question in question_set(path, BenchSettings()).questions] == [NOT_SCORABLE, None]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"prompt": "a", "answer": "b"}, {"prompt": "c"}], "asked.jsonl, line 2: .*answer"),
        ([{"id": 1, "prompt": "a", "answer": "b"}, {"id": 1, "prompt": "c", "answer": "d"}],
         "asked.jsonl, line 2: the id 1 is on line 1 too"),
        ([], "asked.jsonl"),
    ],
    ids=["missing answer", "duplicate id", "empty"],
)  # fmt: skip
def test_a_benchmark_with_a_mistake_is_refused_by_line(tmp_path: Path, records: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        question_set(write(tmp_path, records), BenchSettings())


def test_choosing_by_likelihood_takes_the_options_in_the_words_of_the_answer(tmp_path: Path) -> None:
    header = 'scorer = "choice"\nmethod = "likelihood"\n'
    good = {"id": "g", "prompt": "red or blue?", "answer": "red", "choices": ["red", "blue"]}
    by_letter = {"id": "h", "prompt": "A) sky or B) sea?", "answer": "B", "choices": ["sky", "sea"]}
    stray = {"id": "i", "prompt": "one or two?", "answer": "three", "choices": ["one", "two"]}
    found = question_set(write(tmp_path, [good, by_letter, stray], header), BenchSettings())
    assert [question.options for question in found.asked] == [("red", "blue"), ("A", "B")]
    assert found.questions[2].left_out == NOT_SCORABLE
    bad = {"id": "x7", "prompt": "c?", "answer": "c", "choices": ["c"]}
    with pytest.raises(DataError, match=r"asked.jsonl, line 2: no options to choose from"):
        question_set(write(tmp_path, [good, bad], header), BenchSettings())
