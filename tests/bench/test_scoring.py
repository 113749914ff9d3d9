"""Scorers that need more than texts: a sandbox that is off by default, a judge and its agreement, the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.analysis.agreement import agreement, cohens_kappa
from stoker.analysis.scorers import Scorer
from stoker.bench.judging import Ask, read_mark
from stoker.bench.sandbox import require_sandbox
from stoker.bench.scoring import extract_code, scorer_of
from stoker.data.benchmark_header import SCORERS, Header
from stoker.errors import DataError, InvalidInput, PermanentError, SettingError
from stoker.spec.lab import EvaluateSpec


def no_endpoint(model: str, key: str) -> Ask:
    raise AssertionError("nobody is to be asked")


def make(
    folder: Path, name: str, evaluate: EvaluateSpec | None = None, connect: Any = no_endpoint, **options: Any
) -> Scorer:
    header = Header(scorer=name, options=options)
    return scorer_of(folder / "quiz.jsonl", header, evaluate or EvaluateSpec(), folder, connect)


@pytest.mark.parametrize("name", sorted(set(SCORERS) - {"code", "python", "judge"}))
def test_every_scorer_a_header_may_name_is_there(tmp_path: Path, name: str) -> None:
    assert make(tmp_path, name).name == name


def test_code_is_not_run_unless_a_setting_allows_it(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="off; evaluate"):
        make(tmp_path, "code")


def test_code_is_taken_from_its_fence_and_run_with_the_items_tests(tmp_path: Path) -> None:
    try:
        require_sandbox()
    except InvalidInput as error:
        pytest.skip(str(error))
    scorer = make(tmp_path, "code", EvaluateSpec(run_code="sandbox"))
    meta = {"tests": "assert double(3) == 6"}
    right = "Here:\n```python\ndef double(x):\n    return 2 * x\n```\nIt doubles."
    assert scorer.score(meta, "", right) == {"code": 1.0}
    assert scorer.score(meta, "", right.replace("2", "3")) == {"code": 0.0}
    assert scorer.score({**meta, "before": "two = 2"}, "", "def double(x): return two * x") == {"code": 1.0}
    with pytest.raises(DataError, match="has no tests"):
        scorer.score({}, "", right)
    slow = make(tmp_path, "code", EvaluateSpec(run_code="sandbox", code_seconds=1))
    assert slow.score({"tests": "import time\ntime.sleep(3)"}, "", "") == {"code": 0.0}
    small = make(tmp_path, "code", EvaluateSpec(run_code="sandbox", code_megabytes=64))
    large = {"tests": "x = bytearray(200 << 20)"}
    assert (small.score(large, "", ""), scorer.score(large, "", "")) == ({"code": 0.0}, {"code": 1.0})


def test_the_last_block_of_an_answer_is_its_code() -> None:
    assert extract_code("```py\na\n```\ntext\n```\nb\n```") == "b\n"
    assert extract_code("x = 1") == "x = 1"


def test_a_users_function_scores_by_its_own_metrics(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        'METRICS = {"close": True, "share": False}\n'
        "def score(expected, answer, meta):\n"
        '    return {"close": expected[0] == answer[0], "share": meta["weight"]}\n'
    )
    scorer = make(tmp_path, "python", file="mine.py")
    assert (scorer.primary, dict(scorer.metrics)) == ("close", {"close": True, "share": False})
    assert scorer.score({"weight": 0.5}, "abc", "axx") == {"close": 1.0, "share": 0.5}
    (tmp_path / "one.py").write_text("def mark(expected, answer, meta):\n    return len(answer)\n")
    one = make(tmp_path, "python", file="one.py", function="mark")
    assert one.score({}, "", "x") == {"score": 1.0}
    with pytest.raises(DataError, match="from 0 to 1"):
        one.score({}, "", "xxx")
    with pytest.raises(DataError, match="KeyError"):
        scorer.score({}, "a", "b")


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, {"file": "mine.py"}, "no such file"),
        ("", {}, "no such file"),
        ("x = 1", {"file": "mine.py"}, "no function score"),
        ("x = (", {"file": "mine.py"}, "can't be loaded: SyntaxError"),
        ("", {"path": "mine.py"}, "no option 'path'"),
    ],
)
def test_a_function_that_can_not_be_used_is_named(tmp_path: Path, content: Any, options: Any, words: str) -> None:
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(DataError, match=words):
        make(tmp_path, "python", **options)


class Judging:
    """A judge that says 9 where the answer holds the word yes; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, model: str, key: str) -> Ask:
        def ask(question: str) -> str:
            self.asked.append(question)
            return f"Well. MARK: {9 if 'yes' in question.partition('Answer to mark:')[2] else 2}"

        return ask


def test_a_judge_is_asked_once_for_each_answer_and_compared_with_people(tmp_path: Path) -> None:
    marked = [("yes", True), ("yes!", True), ("no", False), ("yes?", False)]
    (tmp_path / "people.jsonl").write_bytes(
        b"".join(
            orjson.dumps({"prompt": "q", "expected": "yes", "answer": answer, "right": right}) + b"\n"
            for answer, right in marked
        )
    )
    judging = Judging()
    options = {"model": "http://127.0.0.1/v1#judge", "calibration": "people.jsonl"}
    scorer = make(tmp_path, "judge", connect=judging, **options)
    assert scorer.score({"prompt": "q"}, "yes", "yes {prompt}") == {"judge": 0.9, "judge_right": 1.0}
    assert "yes {prompt}" in judging.asked[0] and not scorer.is_proven
    assert scorer.score({"prompt": "q"}, "yes", "no idea") == {"judge": 0.2, "judge_right": 0.0}
    assert scorer.corpus is not None
    assert scorer.corpus([]) == {"judge_agreement": 0.75, "judge_kappa": 0.5, "judge_checked": 4.0}
    num_asked = len(judging.asked)
    again = make(tmp_path, "judge", connect=judging, **options)
    assert again.score({"prompt": "q"}, "yes", "no idea")["judge"] == 0.2
    assert again.corpus is not None and again.corpus([])["judge_kappa"] == 0.5
    assert len(judging.asked) == num_asked
    other = make(tmp_path, "judge", connect=judging, model=options["model"], prompt="{prompt} {answer} MARK?")
    other.score({"prompt": "q"}, "yes", "no idea")
    assert judging.asked[num_asked:] == ["q no idea MARK?"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "names no model"),
        ({"model": "m", "prompt": "mark {prompt}"}, "lacks {answer}"),
        ({"model": "m", "calibration": "gone.jsonl"}, "no such file"),
        ({"model": "m", "calibration": "bad.jsonl"}, "line 2 is no marked answer"),
        ({"model": "m", "temperature": 1}, "no option"),
    ],
)
def test_a_judge_that_can_not_be_used_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    good = {"prompt": "q", "expected": "e", "answer": "a", "right": True}
    bad = orjson.dumps(good) + b"\n" + orjson.dumps({**good, "right": 1})
    (tmp_path / "bad.jsonl").write_bytes(bad)
    with pytest.raises(DataError, match=words):
        make(tmp_path, "judge", connect=Judging(), **options)


@pytest.mark.parametrize(
    ("reply", "mark"),
    [("MARK: 7", 0.7), ("mark: 10/10", 1.0), ("MARK: 3\nno, MARK: 8", 0.8), ("0", 0.0), (" 6/10.", 0.6)],
)
def test_a_mark_is_read_from_a_reply(reply: str, mark: float) -> None:
    assert read_mark(reply) == mark


@pytest.mark.parametrize("reply", ["", "MARK: 11", "MARK: 100", "good", "I give it 7 of 10 points"])
def test_a_reply_without_a_mark_is_an_error_and_no_zero(reply: str) -> None:
    with pytest.raises(PermanentError, match="no mark"):
        read_mark(reply)


def test_agreement_beyond_chance_by_hand() -> None:
    a = [True] * 25 + [False] * 25
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert agreement(a, b) == 0.7
    assert cohens_kappa(a, b) == pytest.approx(0.4)
    assert cohens_kappa([True, True], [True, True]) == 1.0
