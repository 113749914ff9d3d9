"""The basics: the same items everywhere, each answered rightly by its own answer and wrongly by one that runs on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stoker.analysis.scorers import find_scorer, is_scorable
from stoker.data.benchmarks import read_benchmark
from stoker.errors import DataError
from stoker.tasks.basics.generate import CATEGORIES, generate_items
from stoker.tasks.basics.install import NUM_PER_CATEGORY, SEED, write_basics
from stoker.tasks.basics.score import is_right


def test_the_items_are_frozen(tmp_path: Path) -> None:
    path = write_basics(tmp_path)
    benchmark = read_benchmark(path)
    assert benchmark.sha256 == "484863b36bbbb111750564a291d9e6a56c2ee7a9bc5d684ccf8dce6b29786ada"
    assert Counter(item.category for item in benchmark.items) == dict.fromkeys(CATEGORIES, NUM_PER_CATEGORY)
    path.write_text("kept")
    assert write_basics(tmp_path).read_text() == "kept"


def test_another_seed_gives_other_items_and_no_prompt_stands_twice() -> None:
    items, others = generate_items(50, SEED), generate_items(50, SEED + 1)
    assert len({item.prompt for item in items}) == 300
    assert sum(a.prompt == b.prompt for a, b in zip(items, others, strict=True)) < 30


def test_every_item_takes_its_own_answer_and_no_other_items() -> None:
    scorer = find_scorer("basics")
    items = generate_items(20, 7)
    for item in items:
        assert is_scorable(scorer, item.meta, item.answer)
        wrong = [other.answer for other in items if other.answer != item.answer]
        assert not any(scorer.score(item.meta, item.answer, answer)["basics"] for answer in wrong), item


@pytest.mark.parametrize(
    ("rule", "expected", "answer", "right"),
    [
        ("exact", "river stone42", " river stone42\n", True),
        ("exact", "river stone42", '"river stone42"', True),
        ("exact", "river stone42", "river stone42 river", False),
        ("exact", "river stone42", "Sure! river stone42", False),
        ("number", "1024", "1,024", True),
        ("number", "42", "20 + 22 = 42.", True),
        ("number", "42", "42\n\nQuestion: what", False),
        ("number", "42", "142", False),
        ("list", "a, b", "A,b.", True),
        ("list", "a, b", "a\nb", True),
        ("list", "a, b", "b, a", False),
        ("list", "a, b", "a, b, c", False),
        ("json", '{"age": 3}', '```json\n{"age": 3}\n```', True),
        ("json", '{"age": 3}', '{"age": 3} and more', False),
        ("json", '{"age": 3}', '{"age": "3"}', False),
        ("json", '{"age": 1}', '{"age": true}', False),
        ("lines", "1. A\n2. B", "1.  A\n\n2. B ", True),
        ("lines", "1. A\n2. B", "1. A\n2. B\n3. C", False),
        ("word", "red", "Red.", True),
        ("word", "red", "red red red", False),
        ("word", "red", "", False),
    ],
)
def test_each_rule(rule: str, expected: str, answer: str, right: bool) -> None:
    assert is_right({"rule": rule}, expected, answer) is right


def test_hostile_answers_are_wrong_and_an_unknown_rule_is_an_error() -> None:
    for item in generate_items(1, 1):
        for answer in ("[" * 100_000, "\x00", "9" * 10_000, "`" * 10_000, "\ud800"):
            assert not is_right(item.meta, item.answer, answer)
    with pytest.raises(DataError, match="rules are exact"):
        is_right({"rule": "mood"}, "a", "a")
