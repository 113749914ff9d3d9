"""Columns that people name: parsed, applied, remembered by their set, proposed but never trained on a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_lab import SmallLab

from stoker.data.findings import FileRefused, RowProblem
from stoker.data.formats.mapping import apply_mapping, load_mappings, parse_mapping, propose, save_mapping
from stoker.errors import InvalidInput

MAILS = [
    {"id": n, "subject": f"Order {n} of {n * 7}", "body": f"Where is order {n}?", "reply": f"It left on day {n * 3}."}
    for n in range(60)
]
COLUMNS = sorted(MAILS[0])


def test_columns_and_templates_become_fields() -> None:
    mapping = parse_mapping(["subject=prompt,reply=completion"], COLUMNS)
    assert apply_mapping(mapping, MAILS[2]) == {"prompt": MAILS[2]["subject"], "completion": MAILS[2]["reply"]}
    mapping = parse_mapping(["{id}: {subject}, {body}=prompt", "reply=completion"], COLUMNS)
    assert apply_mapping(mapping, MAILS[2])["prompt"] == "2: Order 2 of 14, Where is order 2?"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["subject"], "is no mapping"), (["subject=question"], "is no mapping"), (["subject=prompt,body=prompt"], "twice"),
        (["subjet=prompt,reply=completion"], "no column subjet"), (["subject=prompt"], "make no row"),
        (["{subject} {nothing}=prompt", "reply=completion"], "no column nothing"),
    ],
)  # fmt: skip
def test_a_mapping_that_can_not_be_is_refused(words: list[str], error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        parse_mapping(words, COLUMNS)


def test_a_template_joins_text_alone() -> None:
    mapping = parse_mapping(["{subject} {body}=prompt", "reply=completion"], COLUMNS)
    assert apply_mapping(mapping, {**MAILS[0], "body": None})["prompt"] == "Order 0 of 0 "
    with pytest.raises(RowProblem, match="column body is a list"):
        apply_mapping(mapping, {**MAILS[0], "body": ["x"]})


def test_mappings_are_kept_one_for_each_set_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "mappings.json"
    assert load_mappings(path) == ()
    save_mapping(path, parse_mapping(["subject=prompt,reply=completion"], COLUMNS))
    save_mapping(path, parse_mapping(["a=text"], ["a"]))
    better = parse_mapping(["body=prompt,reply=completion"], COLUMNS)
    save_mapping(path, better)
    assert [one.columns for one in load_mappings(path)] == [("a",), tuple(COLUMNS)]
    assert load_mappings(path)[1] == better


@pytest.mark.parametrize(
    ("record", "prompt", "completion"),
    [
        (MAILS[1], "{body}\n{subject}", "{reply}"),
        ({"ticket_text": "It does not start.", "category": "hardware", "created": "2024-01-01"}, "{ticket_text}", "{category}"),
        ({"de": "Guten Tag", "en": "Good day, to you all"}, "{de}", "{en}"),
    ],
)  # fmt: skip
def test_a_proposal_tells_question_from_answer(record: dict[str, Any], prompt: str, completion: str) -> None:
    found = propose([record] * 5)
    assert found is not None and found.fields == {"prompt": prompt, "completion": completion}


def test_there_is_no_proposal_without_two_text_columns() -> None:
    assert propose([{"id": 1, "value": 2.5, "name": "x"}]) is None


def test_a_saved_mapping_reads_the_next_file_by_itself(lab: SmallLab) -> None:
    with pytest.raises(FileRefused, match="has known keys"):
        lab.take_rows(MAILS, "mails.jsonl")
    lab.mappings = (parse_mapping(["{subject}\n{body}=prompt", "reply=completion"], COLUMNS),)
    dataset = lab.take_rows(MAILS, "mails.jsonl")
    assert dataset.summary["format"] == "prompt-completion" and dataset.summary["quarantined"] == 0
    assert "60 rows were read by the mapping saved for their columns" in dataset.summary["notes"]
    with pytest.raises(FileRefused):
        lab.take_rows([{**mail, "extra": 1} for mail in MAILS], "other.jsonl")
