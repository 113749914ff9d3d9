"""Benchmark files, and rows a model has nearly seen."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from small_lab import SmallLab

from stoker.data.benchmarks import read_benchmark
from stoker.data.rows import Row
from stoker.data.sealing.overlap import near_trained
from stoker.durable import sha256_file
from stoker.errors import DataError


def write(folder: Path, items: list[Any], header: str = "") -> Path:
    path = folder / "quiz.jsonl"
    path.write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in items))
    if header:
        path.with_suffix(".toml").write_text(header)
    return path


def test_items_are_prompts_or_messages_with_an_answer(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [
            {"prompt": "q", "answer": "a", "category": "c", "id": 7, "meta": {"words": ["x"]}, "completion": "other"},
            {"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "q"}], "answer": "b"},
            {"question": "q", "answer": 42},
        ],
        'scorer = "exact"\nsystem = "be brief"\ndescription = "a quiz"\n',
    )
    benchmark = read_benchmark(path)
    assert (benchmark.name, benchmark.scorer, benchmark.header.description) == ("quiz", "exact", "a quiz")
    assert benchmark.sha256 == sha256_file(path)
    first, second, third = benchmark.items
    assert (first.id, first.answer, first.category, first.meta) == ("7", "a", "c", {"words": ["x"]})
    assert [message["content"] for message in first.row.messages or ()] == ["be brief", "q", "a"]
    assert [message["content"] for message in second.row.messages or ()] == ["own", "q", "b"]
    assert (third.id, third.answer) == (third.row.id, "42")
    path.with_suffix(".toml").unlink()
    assert read_benchmark(path).scorer == "normalised"


@pytest.mark.parametrize(
    ("items", "header", "words"),
    [
        ([{"prompt": "q", "answer": "a"}, {"prompt": "q"}], "", "line 2"),
        ([{"prompt": "q", "answer": "a", "id": 1}, {"prompt": "r", "answer": "b", "id": 1}], "", "id 1"),
        ([{"prompt": "q", "answer": None}], "", "null"),
        ([{"text": "q"}], "", "line 1"),
        ([5], "", "line 1"),
        ([], "", "empty"),
        ([{"prompt": "q", "answer": "a"}], 'scorer = "blue"', "blue"),
        ([{"prompt": "q", "answer": "a"}], 'scoring = "f1"', "scoring"),
        ([{"prompt": "q", "answer": "a"}], "scorer = ", "TOML"),
        ([{"prompt": "q", "answer": "a"}], 'sha256 = "0123"', "not what was frozen"),
        ([{"prompt": "q", "answer": "a", "category": "x"}], 'categories = ["y"]', "line 1: category 'x'"),
        ([{"prompt": "q", "answer": "a"}], 'scorer = "choice"', "line 1: no options"),
        ([{"prompt": "q", "answer": "a", "choices": ["a", "a"]}], 'scorer = "choice"', "line 1: no options"),
        ([{"prompt": "q", "answer": "a", "choices": "ab"}], "", "choices is 'ab', not a list"),
        ([{"prompt": "q", "answer": "a"}], 'method = "likelihood"', "only options have likelihoods"),
        ([{"prompt": "q", "answer": "a"}], 'method = "luck"', "method"),
    ],
)
def test_a_broken_benchmark_names_what_is_wrong(tmp_path: Path, items: list[Any], header: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_benchmark(write(tmp_path, items, header))


def test_choices_and_aliases_of_an_item_are_its_scorers_to_use(tmp_path: Path) -> None:
    item = {"question": "q", "choices": ["a", "b"], "answer": "a", "aliases": ["c"], "meta": {"own": 1}}
    (found,) = read_benchmark(write(tmp_path, [item], 'scorer = "choice"\ncategories = []\n')).items
    assert found.meta == {"own": 1, "choices": ["a", "b"], "aliases": ["c"]}
    assert [message["content"] for message in found.row.messages or ()] == ["q", "a"]


def test_rows_near_trained_ones_are_found_whole_or_by_prompt(lab: SmallLab) -> None:
    chooser = random.Random(0)
    words = [f"w{i}" for i in range(500)]
    rows = [
        {"prompt": " ".join(chooser.choices(words, k=12)), "completion": " ".join(chooser.choices(words, k=30))}
        for _ in range(60)
    ]
    dataset = lab.take_rows(rows, "rows.jsonl")
    trained, sealed = dataset.train_rows()[5], dataset.heldout_rows()[0]
    same_prompt = Row.from_content(1, [*trained.prompt_messages(), {"role": "assistant", "content": "no"}])
    other = Row.from_content(
        1, [{"role": "user", "content": "a new one"}, {"role": "assistant", "content": "yes it is"}]
    )
    near = near_trained([trained, same_prompt, sealed, other], [dataset.folder])
    assert near == {trained.id: f"rows.jsonl:{trained.line}", same_prompt.id: f"rows.jsonl:{trained.line}"}
