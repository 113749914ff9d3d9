"""Examples before a question: never a tested item nor near one, the same for the same seed, as earlier turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.bench.few_shot import NEAR_SHOWN, SHOWN, Drawn, draw, examples_of, with_examples
from stoker.data.benchmarks import Benchmark, read_benchmark
from stoker.errors import InvalidInput
from stoker.spec.jobs import BenchSettings

TOPICS = [
    "tide",
    "moss",
    "lamp",
    "horn",
    "clay",
    "rope",
    "silk",
    "iron",
    "mint",
    "salt",
    "wolf",
    "kite",
    "barn",
    "fern",
    "glass",
    "drum",
    "coal",
    "hare",
    "plum",
    "reef",
]


def items(num: int = 20) -> list[dict[str, Any]]:
    return [
        {
            "id": f"i{n}",
            "prompt": f"{TOPICS[n]} {TOPICS[n]}s what of the {TOPICS[n]} {n * 31}?",
            "answer": f"{TOPICS[n]} {n}",
        }
        for n in range(num)
    ]


def benchmark(folder: Path, records: list[dict[str, Any]], header: str = "") -> Benchmark:
    path = folder / "topics.jsonl"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    path.with_suffix(".toml").write_text(header)
    return read_benchmark(path)


def drawn_with(folder: Path, header: str, settings: BenchSettings) -> Drawn:
    made = benchmark(folder, items(), header)
    return draw(made, settings, examples_of(folder / "topics.jsonl", made))


def test_items_shown_are_not_tested_and_counted(tmp_path: Path) -> None:
    drawn = draw(benchmark(tmp_path, items()), BenchSettings(shots=3))
    shown = {item.id for item in drawn.examples}
    assert len(shown) == 3 and shown.isdisjoint(item.id for item in drawn.tested)
    assert len(drawn.tested) == 17 and [item.id for item in drawn.tested] == sorted(
        (item.id for item in drawn.tested), key=lambda id: int(id[1:])
    )
    assert drawn.left_out == dict.fromkeys(shown, SHOWN)


def test_the_seed_decides_and_a_larger_limit_only_adds_items(tmp_path: Path) -> None:
    made = benchmark(tmp_path, items())
    one, same, other = (draw(made, BenchSettings(shots=2, seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert [item.id for item in one.examples] != [item.id for item in other.examples]
    small, large = (draw(made, BenchSettings(limit=limit, seed=5)) for limit in (4, 9))
    assert len(small.tested) == 4 and {i.id for i in small.tested} < {i.id for i in large.tested}
    assert {i.id for i in small.tested} != {i.id for i in draw(made, BenchSettings(limit=4, seed=6)).tested}


def test_under_a_limit_examples_come_from_the_rest_and_cost_no_item(tmp_path: Path) -> None:
    drawn = draw(benchmark(tmp_path, items()), BenchSettings(shots=3, limit=10))
    assert len(drawn.tested) == 10 and drawn.left_out == {}
    assert {i.id for i in drawn.examples}.isdisjoint(i.id for i in drawn.tested)


def test_examples_of_the_header_are_used_and_every_item_is_tested(tmp_path: Path) -> None:
    header = "".join(f'[[examples]]\nprompt = "shown {n} {"ab cd ef"[n : n + 4]}"\nanswer = "a{n}"\n' for n in range(3))
    drawn = drawn_with(tmp_path, header, BenchSettings(shots=2))
    assert len(drawn.tested) == 20 and all(item.answer in ("a0", "a1", "a2") for item in drawn.examples)


def test_an_item_near_an_example_that_must_be_taken_does_not_count(tmp_path: Path) -> None:
    near = items()[4]["prompt"].replace("what", "which")
    header = f'[[examples]]\nprompt = "{near}"\nanswer = "{items()[4]["answer"]}"\n'
    drawn = drawn_with(tmp_path, header, BenchSettings(shots=1))
    assert drawn.left_out == {"i4": NEAR_SHOWN}


def test_an_example_near_a_tested_item_is_passed_over_while_there_are_others(tmp_path: Path) -> None:
    records = [*items(), {**items()[4], "id": "twin", "prompt": items()[4]["prompt"].replace("what", "which")}]
    made = benchmark(tmp_path, records)
    for seed in range(12):
        drawn = draw(made, BenchSettings(shots=2, limit=8, seed=seed))
        tested, shown = {i.id for i in drawn.tested}, {i.id for i in drawn.examples}
        for ours, theirs in (("i4", "twin"), ("twin", "i4")):
            assert not (ours in tested and theirs in shown)
        assert drawn.left_out == {}


def test_a_file_of_examples_is_read(tmp_path: Path) -> None:
    (tmp_path / "shots.jsonl").write_bytes(orjson.dumps({"prompt": "from the file", "answer": "yes"}))
    drawn = drawn_with(tmp_path, 'shots_from = "shots.jsonl"\n', BenchSettings(shots=1))
    assert [item.answer for item in drawn.examples] == ["yes"]


def test_more_shots_than_there_are_is_an_error_that_says_how_many(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"20 shots, but benchmark topics has 20 items, one is tested; .*19 at most"):
        draw(benchmark(tmp_path, items()), BenchSettings(shots=20))
    header = '[[examples]]\nprompt = "a"\nanswer = "b"\n'
    with pytest.raises(InvalidInput, match="2 shots, but benchmark topics brings 1 examples"):
        drawn_with(tmp_path, header, BenchSettings(shots=2))


def test_examples_stand_behind_the_system_prompt_and_only_the_question_is_scored(tmp_path: Path) -> None:
    made = benchmark(tmp_path, items(4), 'system = "Be short."\n')
    row = with_examples(made.items[0].row, made.items[1:3])
    assert row.messages is not None
    assert [turn["role"] for turn in row.messages] == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]  # fmt: skip
    assert row.messages[2]["content"] == "moss 1" and row.messages[-1]["content"] == "tide 0"
    assert row.trained_turns() == [6] and row.id != made.items[0].row.id
    assert with_examples(made.items[0].row, []) is made.items[0].row
