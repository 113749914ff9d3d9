"""Files: benchmarks frozen to the byte; training files free of benchmark puzzles and unseen words."""

import tomllib

import orjson
import pytest

from stoker.durable import sha256_file
from stoker.errors import InvalidInput
from stoker.tasks.syllo.install import BENCHMARKS, benchmark_puzzles, write_benchmarks, write_training_file
from stoker.tasks.syllo.score import score_answer
from stoker.tasks.syllo.words import all_words, unseen_words

FROZEN_SHA256 = {
    "syllo-easy": "d5de479305469906446b8d9283c25882997c2b6d9cb28a0fdb0c50b58dd506f0",
    "syllo-medium": "14bc33b78a00108e8f07a83ef877017951add75fbb937ca45a9ffb75bdd94342",
    "syllo-hard": "2e3bf0d3c5629bdb231efe1a841db4a044c8e68d46e86491c836779a85eae6ad",
    "syllo-unseen": "3c904ea270c7443b0493eb8ea2efdef2ecf4d518436d83f89b09b622dbdf1c6c",
}
CLUES = {word.clue: word.text for word in all_words()}


def words_of(prompt: str) -> frozenset[str]:
    lines = [line for line in prompt.split("\n") if "__" in line]
    return frozenset(CLUES[line.split(". ", 1)[1].rstrip("_ ").rstrip(":")] for line in lines)


def test_the_benchmarks_are_frozen(tmp_path):
    paths = write_benchmarks(tmp_path)
    assert {path.stem: sha256_file(path) for path in paths} == FROZEN_SHA256


def test_a_benchmark_has_a_hundred_whole_items_and_a_header(tmp_path):
    for path in write_benchmarks(tmp_path):
        header = tomllib.loads(path.with_suffix(".toml").read_text())
        assert header["scorer"] == "syllo"
        assert header["description"].startswith("SYLLO: ")
        items = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        assert len({item["id"] for item in items}) == 100
        assert all(score_answer(item["meta"], item["answer"])["puzzle"] == 1.0 for item in items)


def test_unseen_words_are_in_their_benchmark_alone():
    unseen = {word.text for word in unseen_words()}
    for name in BENCHMARKS:
        words = {text for puzzle in benchmark_puzzles(name) for text in puzzle.word_set}
        assert words == unseen if name == "syllo-unseen" else not words & unseen


@pytest.mark.parametrize("level", ["easy", "medium", "hard", "mixed"])
def test_a_training_file_holds_no_unseen_word_and_no_puzzle_twice(tmp_path, level):
    path = tmp_path / "train.jsonl"
    write_training_file(path, 2000, seed=1, level=level)
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    sets = [words_of(row["prompt"]) for row in rows]
    assert len(rows) == len(set(sets)) == 2000
    assert all(row.keys() == {"prompt", "answer"} for row in rows)
    assert not {word.text for word in unseen_words()} & frozenset().union(*sets)


def test_a_training_file_never_holds_a_benchmark_puzzle_even_from_its_own_seed(tmp_path):
    path = tmp_path / "train.jsonl"
    for name in ("syllo-easy", "syllo-medium", "syllo-hard"):
        write_training_file(path, 200, BENCHMARKS[name].seed, BENCHMARKS[name].level)
        sets = {words_of(orjson.loads(line)["prompt"]) for line in path.read_bytes().splitlines()}
        assert not sets & {puzzle.word_set for puzzle in benchmark_puzzles(name)}


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_training_file(tmp_path / name, 100, seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("level", ["unseen", "impossible"])
def test_a_level_that_is_not_for_training_is_refused(tmp_path, level):
    with pytest.raises(InvalidInput, match="to train on"):
        write_training_file(tmp_path / "train.jsonl", 10, 1, level)
    assert not (tmp_path / "train.jsonl").exists()
