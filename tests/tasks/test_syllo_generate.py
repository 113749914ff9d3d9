"""Puzzles: the same for the same seed, solvable from their bank, shaped as their level says."""

from collections import Counter

import pytest

from stoker.errors import InvalidInput
from stoker.tasks.syllo.generate import LEVELS, Puzzle, generate_puzzles
from stoker.tasks.syllo.score import score_answer
from stoker.tasks.syllo.words import training_words

NUM = 300


@pytest.fixture(params=["easy", "medium", "hard", "mixed"])
def puzzles(request) -> list[Puzzle]:
    return list(generate_puzzles(NUM, seed=5, level=request.param))


def test_the_same_seed_makes_the_same_puzzles_and_another_makes_others():
    first = [puzzle.id for puzzle in generate_puzzles(50, 1, "mixed")]
    assert first == [puzzle.id for puzzle in generate_puzzles(50, 1, "mixed")]
    assert not set(first) & {puzzle.id for puzzle in generate_puzzles(50, 2, "mixed")}


def test_a_longer_call_begins_with_the_shorter_one():
    assert list(generate_puzzles(20, 3, "hard")) == list(generate_puzzles(60, 3, "hard"))[:20]


def test_no_two_puzzles_have_the_same_words_and_ids_are_unique(puzzles):
    assert len({puzzle.word_set for puzzle in puzzles}) == NUM
    assert len({puzzle.id for puzzle in puzzles}) == NUM


def test_the_gold_answer_satisfies_the_contract_of_its_prompt(puzzles):
    for puzzle in puzzles:
        item = puzzle.to_item_json()
        assert score_answer(item["meta"], item["answer"]) == {"format": 1, "words": 1, "tiles": 1, "puzzle": 1}


def test_a_puzzle_keeps_the_ranges_of_its_level(puzzles):
    for puzzle in puzzles:
        level = LEVELS[puzzle.level]
        num_needed = sum(len(word.tiles) for word in puzzle.words)
        assert level.num_words[0] <= len(puzzle.words) <= level.num_words[1]
        assert level.num_red_herrings[0] <= len(puzzle.bank) - num_needed <= level.num_red_herrings[1]
        assert {len(word.tiles) for word in puzzle.words} <= {2, 3, 4}
        if puzzle.level == "easy":
            assert {len(word.tiles) for word in puzzle.words} == {2}


def test_red_herrings_are_tiles_that_no_word_of_the_puzzle_uses():
    for puzzle in generate_puzzles(NUM, 6, "hard"):
        needed = Counter(tile for word in puzzle.words for tile in word.tiles)
        herrings = Counter(puzzle.bank) - needed
        assert not herrings.keys() & needed.keys()
        assert max(herrings.values()) == 1


def test_most_hard_puzzles_share_a_tile_between_words():
    sharing = [len(set(puzzle.bank)) < len(puzzle.bank) for puzzle in generate_puzzles(NUM, 7, "hard")]
    assert sum(sharing) > 0.8 * NUM


def test_a_mixed_file_holds_every_level():
    assert {puzzle.level for puzzle in generate_puzzles(NUM, 8, "mixed")} == {"easy", "medium", "hard"}


def test_a_prompt_shows_one_blank_per_syllable_and_the_whole_bank(puzzles):
    for puzzle in puzzles:
        *_, last = lines = puzzle.prompt.split("\n")
        shown = [line for line in lines if "__" in line]
        for number, (line, word) in enumerate(zip(shown, puzzle.words, strict=True), 1):
            assert line.startswith(f"{number}. {word.clue}")
            assert line.count("__") == len(word.tiles)
        assert Counter(last.removeprefix("Tiles: ").split()) == Counter(puzzle.bank)


def test_excluded_word_sets_are_not_made():
    excluded = {puzzle.word_set for puzzle in generate_puzzles(200, 9, "easy")}
    assert not excluded & {puzzle.word_set for puzzle in generate_puzzles(200, 9, "easy", exclude=excluded)}


def test_a_list_of_ones_own_words_is_all_that_is_used():
    own = [word for word in training_words() if len(word.tiles) == 2][:12]
    used = {text for puzzle in generate_puzzles(100, 1, "easy", own) for text in puzzle.word_set}
    assert used == {word.text for word in own}


def test_words_that_run_out_say_how_many_puzzles_were_made():
    own = [word for word in training_words() if len(word.tiles) == 2][:5]
    with pytest.raises(InvalidInput, match=r"only 15 of 100 easy puzzles"):
        list(generate_puzzles(100, 1, "easy", own))


def test_too_few_words_for_one_puzzle_are_refused():
    own = [word for word in training_words() if len(word.tiles) == 2][:3]
    with pytest.raises(InvalidInput, match="3 words of 2 syllables"):
        list(generate_puzzles(1, 1, "easy", own))


def test_an_unknown_level_is_refused():
    with pytest.raises(InvalidInput, match="no SYLLO level 'harder'"):
        list(generate_puzzles(1, 1, "harder"))
