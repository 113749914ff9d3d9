"""The reference's example of every finding, through the intake: it triggers that finding and nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from small_lab import SmallLab

from stoker.data.checks.examples import ELSEWHERE, EXAMPLES, clean_rows
from stoker.data.checks.rules import RULES, UNUSABLE


def taken(lab: SmallLab, code: str) -> dict[str, Any]:
    """Take an example in as its page says; return the summary."""
    example = EXAMPLES[code]
    lab.intake = lab.intake.model_copy(update={"allow_unproven": True})
    if example.after:
        lab.take_rows(clean_rows(), "first.jsonl")
    if example.benchmark:
        path = lab.root / "quiz.jsonl"
        path.write_text(example.benchmark)
        lab.benchmarks = [path]
    lines = example.lines()
    if not example.is_alone and example.name.endswith(".csv"):
        lines = ["question,answer", *(f'"{row["question"]}","{row["answer"]}"' for row in clean_rows()), *lines]
    elif not example.is_alone:
        lines = [*(orjson.dumps(row).decode() for row in clean_rows()), *lines]
    return lab.take("\n".join(lines).encode(), example.name).summary


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_triggers_its_finding_alone(lab: SmallLab, code: str) -> None:
    summary = taken(lab, code)
    found = {*summary["finding_counts"], *summary["reasons"]} - {"sealed"}
    if code == UNUSABLE.code:
        found |= {one["code"] for one in summary["deductions"]}
    assert found == {code, *EXAMPLES[code].also}


def test_every_code_has_an_example() -> None:
    assert {*RULES} - {*ELSEWHERE} == {*EXAMPLES}


def test_clean_rows_are_clean(lab: SmallLab) -> None:
    assert lab.take_rows(clean_rows()).summary["finding_counts"] == {}
